// SPDX-License-Identifier: Apache-2.0
// Leave-one-out against separate evaluations; checks are named by their number in the depth study's specification.
#include "streamline/prune/leave_one_out.h"

#include <numeric>

#include "prune/method_fixture.h"
#include "streamline/eval/logit_difference.h"
#include "streamline/plan/drop_halves.h"
#include "streamline/prune/unit_choice.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using test::dropped;
using test::pico_model;
using test::random_tokens;
using test::tiny_llama;
using test::with_identity_layers;

constexpr double kRounding = 1e-6;  // of fp32 products in batches of another shape

torch::Tensor logits_of(const Model& model, const std::vector<TokenId>& sequence) {
  const auto ids = torch::tensor(std::vector<std::int64_t>(sequence.begin(), sequence.end()));
  return forward_logits(model, ids.slice(0, 0, -1).unsqueeze(0)).squeeze(0).to(torch::kDouble);
}

// As the definitions have them, a sequence at a time.
double plain_measure(TextMeasure what, const Model& whole, const Model& model, const std::vector<TokenId>& sequence) {
  const torch::Tensor a = logits_of(whole, sequence), b = logits_of(model, sequence);
  if (what == TextMeasure::logits) return (a - b).norm(2, -1).mean().item<double>();
  const torch::Tensor p = a.log_softmax(-1), q = b.log_softmax(-1);
  if (what == TextMeasure::kl) return (p.exp() * (p - q)).sum(-1).mean().item<double>();
  const auto ids = torch::tensor(std::vector<std::int64_t>(sequence.begin() + 1, sequence.end()));
  return -q.gather(1, ids.unsqueeze(1)).mean().item<double>();
}

Plan without(const Model& model, const StackPart& part) {
  std::vector<std::int64_t> attention, mlp;
  if (part.attention) attention.push_back(part.layer);
  if (part.mlp) mlp.push_back(part.layer);
  return drop_halves(model.layer_count(), attention, mlp);
}

std::vector<std::size_t> all_of(const std::vector<StackPart>& stack) {
  std::vector<std::size_t> indices(stack.size());
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

// Two lengths, so that they cannot be one batch.
TokenBatches two_lengths() {
  TokenBatches text = random_tokens(3, 12, 3);
  text.sequences[1].resize(7);
  return text;
}

TEST(LeaveOneOut, Check1InfluencesOfLossesWorkedOutByHand) {
  const std::vector<double> losses = {2, 3, 7};
  EXPECT_EQ(influences(losses), (std::vector<double>{-3, -1.5, 4.5}));
  EXPECT_EQ(influences(std::vector<double>{5}), std::vector<double>{0});
}

TEST(LeaveOneOut, Check2InfluencesKeepTheOrderAndForgetAConstant) {
  const std::vector<double> losses = {4.5, 3.25, 7, 3.5, 9}, shifted = {14.5, 13.25, 17, 13.5, 19};
  const std::vector<double> influence = influences(losses);
  for (std::size_t i = 0; i < losses.size(); ++i) {
    EXPECT_NEAR(influence[i], influences(shifted)[i], 1e-12);
    for (std::size_t k = 0; k < losses.size(); ++k) EXPECT_EQ(influence[i] < influence[k], losses[i] < losses[k]);
  }
}

TEST(LeaveOneOut, Check3AnIdentityCostsNothing) {
  const Model model = with_identity_layers(4, 2, 2);
  const std::vector<StackPart> stack = layer_parts(model);
  for (const TextMeasure what : {TextMeasure::loss, TextMeasure::logits, TextMeasure::kl}) {
    PartCounter counter;
    const LeaveOneOut values =
        leave_one_out(model, stack, all_of(stack), random_tokens(2, 12, 3), {.measure = what}, counter);
    EXPECT_EQ(values.without[2], values.whole);
    for (const double value : values.whole) EXPECT_NEAR(what == TextMeasure::loss ? 0 : value, 0, 1e-7);
  }
}

TEST(LeaveOneOut, Check7NumbersTheSubLayersOf32Blocks) {
  const Model model = pico_model(tiny_llama(32), 1);
  const std::vector<StackPart> parts = half_parts(model);
  ASSERT_EQ(parts.size(), 64U);
  EXPECT_EQ(name(parts[54]), "A27");
  EXPECT_EQ(name(parts[55]), "M27");
  for (const auto& [units, candidates] : {std::pair("attention", 32U), std::pair("mlp", 32U), std::pair("both", 64U)})
    EXPECT_EQ(unit_stack(model, units_of({{"units", units}}), "test").units.size(), candidates) << units;
}

TEST(LeaveOneOut, Check8EqualsSeparateEvaluations) {
  const Model model = pico_model(tiny_llama(4), 1);
  const TokenBatches text = two_lengths();
  for (const std::vector<StackPart>& stack : {layer_parts(model), half_parts(model)})
    for (const TextMeasure what : {TextMeasure::loss, TextMeasure::logits, TextMeasure::kl}) {
      PartCounter counter;
      const LeaveOneOut values =
          leave_one_out(model, stack, all_of(stack), text, {.measure = what, .batch_tokens = 24}, counter);
      ASSERT_EQ(values.whole.size(), 3U);
      // Sequences of one length come first.
      const std::vector<std::size_t> order = {0, 2, 1};
      for (std::size_t s = 0; s < 3; ++s) {
        const auto& sequence = text.sequences[order[s]];
        EXPECT_NEAR(values.whole[s], plain_measure(what, model, model, sequence), kRounding);
        for (std::size_t i = 0; i < stack.size(); ++i)
          EXPECT_NEAR(values.without[i][s],
                      plain_measure(what, model, model.view(without(model, stack[i]), {}), sequence), kRounding)
              << name(stack[i]);
      }
    }
}

TEST(LeaveOneOut, ExecutesHalfOfWhatSeparateEvaluationsWould) {
  const Model model = pico_model(tiny_llama(5), 1);
  const std::vector<StackPart> stack = half_parts(model);
  PartCounter counter;
  leave_one_out(model, stack, all_of(stack), random_tokens(3, 12, 3), {}, counter);
  EXPECT_EQ(counter.parts, 3 * (10 + 10 * 9 / 2));
  EXPECT_EQ(counter.evaluations, 3 * 11);
}

TEST(LeaveOneOut, BatchesDoNotChangeTheValues) {
  const Model model = pico_model(tiny_llama(3), 1);
  const std::vector<StackPart> stack = layer_parts(model);
  const TokenBatches text = random_tokens(5, 12, 3);
  PartCounter counter;
  const LeaveOneOut one = leave_one_out(model, stack, all_of(stack), text, {.batch_tokens = 12}, counter);
  const LeaveOneOut all = leave_one_out(model, stack, all_of(stack), text, {}, counter);
  for (std::size_t i = 0; i < stack.size(); ++i)
    for (std::size_t s = 0; s < 5; ++s) EXPECT_NEAR(one.without[i][s], all.without[i][s], kRounding);
}

TEST(LeaveOneOut, NamesThePartWithoutWhichTheModelSaysNothing) {
  const Model model = pico_model(tiny_llama(3), 1, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    if (test::layer_of(tensor) == 1 && tensor.role == Role::o) values.assign(values.size(), NAN);
  });
  const std::vector<StackPart> stack = layer_parts(model);
  PartCounter counter;
  EXPECT_ERROR(leave_one_out(model, stack, all_of(stack), random_tokens(1, 12, 3), {}, counter), numeric,
               "NaN or infinite on the calibration text");
}

TEST(LogitDifference, AgreesWithWholeLogitsInFloat64) {
  const Model model = pico_model(tiny_llama(2), 1);
  const torch::Tensor reference = torch::randn({3, 64}), hidden = torch::randn({6, 64});
  const auto found = logit_differences(model, reference, hidden);
  const torch::Tensor a = model.logits(reference).to(torch::kDouble).repeat({2, 1});
  const torch::Tensor b = model.logits(hidden).to(torch::kDouble);
  const torch::Tensor p = a.log_softmax(-1), kl = (p.exp() * (p - b.log_softmax(-1))).sum(-1);
  ASSERT_EQ(found.size(), 6U);
  for (std::int64_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(found[static_cast<std::size_t>(i)].l2, (a - b)[i].norm().item<double>(), 1e-5);
    EXPECT_NEAR(found[static_cast<std::size_t>(i)].kl, kl[i].item<double>(), 1e-6);
  }
}

class LeaveOneOutMethod : public test::MethodTest {
 protected:
  LeaveOneOutMethod() : MethodTest("leave-one-out") { model = with_identity_layers(6, 2, 3); }
};

TEST_F(LeaveOneOutMethod, DropsTheLayersThatAddNothing) {
  for (const char* measure : {"logits", "kl"}) {  // a random model's loss may fall without a layer
    const Proposal proposal = propose({{"layers", 2}, {"measure", measure}});
    EXPECT_EQ(dropped(proposal.plan), (std::vector<std::int64_t>{2, 3}));
  }
}

TEST_F(LeaveOneOutMethod, SaysWhatItSaw) {
  const Proposal proposal = propose({{"layers", 1}, {"units", "both"}});
  const Json& estimates = proposal.plan.scores.at("estimates");
  EXPECT_EQ(estimates.at("units").size(), 12U);
  EXPECT_EQ(estimates.at("units")[3].at("unit"), "M1");
  EXPECT_EQ(estimates.at("evaluations"), 2 * 13);
  double influence = 0;
  for (const Json& unit : estimates.at("units")) {
    influence += unit.at("influence").get<double>();
    EXPECT_NEAR(unit.at("without").get<double>() - estimates.at("whole").at("value").get<double>(),
                unit.at("value").get<double>(), 1e-12);
  }
  EXPECT_NEAR(influence, 0, 1e-12);
  EXPECT_EQ(plan_from_json(to_json(proposal.plan), "test").scores, proposal.plan.scores);
}

TEST_F(LeaveOneOutMethod, RefusesBeforeItComputes) {
  calibration.sequences.clear();  // nothing could be computed
  EXPECT_ERROR(propose(Json::object()), usage, "exactly one of --layers, --cut and --sparsity");
  EXPECT_ERROR(propose({{"cut", 6}}), usage, "1 to 5 can be cut");
  EXPECT_ERROR(propose({{"layers", 1}, {"units", "mlp"}, {"cut", 1}}), usage, "--cut counts whole layers");
  EXPECT_ERROR(propose({{"halves", 1}}), usage, "with --units layers give --layers");
  EXPECT_ERROR(propose({{"layers", 1}}), resource, "no sequence of two tokens or more");
}

}  // namespace
}  // namespace streamline
