// SPDX-License-Identifier: Apache-2.0
// What methods choose in ranks that share the work is what they choose in one process.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "heal/pico.h"
#include "streamline/prune/inside_statistics.h"
#include "streamline/prune/method.h"
#include "streamline/prune/taylor_scores.h"
#include "support/core/temporary_directory.h"
#include "support/torch/pico.h"
#include "support/torch/rank_threads.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;

void expect_same_plan(const Json& a, const Json& b, const std::string& where) {
  if (a.is_structured()) {
    ASSERT_EQ(a.size(), b.size()) << where;
    for (const auto& [key, value] : a.items())
      expect_same_plan(value, a.is_object() ? b.at(key) : b.at(std::stoul(key)), where + "/" + key);
  } else if (a.is_number_float()) {
    EXPECT_NEAR(a.get<double>(), b.get<double>(), 1e-9) << where;
  } else {
    EXPECT_EQ(a, b) << where;
  }
}

Json proposed_plan(const Method& method, const Json& given, const Placement& placement,
                   const Questionnaire& questions = {}, SearchMemory* memory = nullptr) {
  const Model model = pico_model(test::tiny_llama(), 1, {}, placement);
  const TokenBatches text = random_tokens(5, 12, 3);
  PruneContext context{.model = model, .calibration = text};
  context.sweep.batch_tokens = 24;
  context.questions = questions;
  context.memory = memory;
  return to_json(method.propose(context, resolve_params(method.params, given, "test")).plan);
}

struct MethodCase {
  const Method* method;
  Json given;
};

class MethodInRanks : public testing::TestWithParam<MethodCase> {};

TEST_P(MethodInRanks, ChoosesWhatOneProcessDoes) {
  const auto& [method, given] = GetParam();
  const Json alone = proposed_plan(*method, given, {});
  for (const int size : {2, 4})
    test::in_ranks(size, [&, method = method, given = given](const Ranks& ranks) {
      expect_same_plan(proposed_plan(*method, given, {.ranks = ranks}), alone, std::string(method->name));
      ranks.finish(0);
    });
}

TEST(MethodsInRanks, GiveUpHopelessCandidatesWithoutAnotherChoice) {
  const Method& method = find_method("blockpruner");
  const Json alone = proposed_plan(method, {{"layers", 2}}, {});
  test::in_ranks(3, [&](const Ranks& ranks) {
    const Json early = proposed_plan(method, {{"layers", 2}, {"early-stop", true}}, {.ranks = ranks});
    EXPECT_EQ(early.at("segments"), alone.at("segments"));
    ranks.finish(0);
  });
}

// Coalitions of layers judged by what is left of the model, not by who asks.
TEST(MethodsInRanks, AskQuestionsOfOneCoalitionEach) {
  const Questionnaire questions{.count = 20, .right = [](const Model& view, std::int64_t first, std::int64_t count) {
                                  EXPECT_TRUE(view.placement().ranks.alone());
                                  const double said =
                                      view.layer_count() > 0 ? view.layer(0).all().front().sum().item<double>() : 0;
                                  std::vector<bool> right;
                                  for (std::int64_t i = first; i < first + count; ++i)
                                    right.push_back(std::sin(said * static_cast<double>(i + 1)) > 0.2);
                                  return right;
                                }};
  const Method& method = find_method("shapley");
  const Json given = {{"layers", 2}, {"game", "accuracy"}, {"permutations", 3}};
  const Json alone = proposed_plan(method, given, {}, questions);
  test::in_ranks(2, [&](const Ranks& ranks) {
    expect_same_plan(proposed_plan(method, given, {.ranks = ranks}, questions), alone, "accuracy");
    ranks.finish(0);
  });
}

TEST(MethodsInRanks, GoOnFromTheStateOfTheFirst) {
  const test::TemporaryDirectory folder;
  const std::filesystem::path file = folder.path() / "search.json";
  const Method& method = find_method("beam");
  const Json alone = proposed_plan(method, {{"layers", 3}}, {});
  SearchMemory memory(file);
  proposed_plan(method, {{"layers", 1}}, {}, {}, &memory);
  test::in_ranks(2, [&](const Ranks& ranks) {
    const std::filesystem::path own = ranks.first() ? file : folder.path() / "of another rank.json";
    SearchMemory shared(own, ranks);
    expect_same_plan(proposed_plan(method, {{"layers", 3}}, {.ranks = ranks}, {}, &shared), alone, "resumed");
    EXPECT_EQ(std::filesystem::exists(own), ranks.first());
    ranks.finish(0);
  });
  SearchMemory again(file);
  expect_same_plan(proposed_plan(method, {{"layers", 3}}, {}, {}, &again), alone, "resumed by one");
}

// Sizes that the small model can lose, and what makes the slow ones quick; then what else methods may look at.
std::vector<MethodCase> method_cases() {
  std::vector<MethodCase> cases;
  for (const Method* method : methods()) {
    const bool narrows = std::ranges::any_of(method->params, [](const Param& param) { return param.name == "ratio"; });
    Json given = narrows ? Json{{"ratio", 0.5}} : Json{{"layers", 2}};
    if (method->name == "policy-gradient") given.update({{"steps", 3}, {"check-every", 2}});
    if (method->name == "mini-llm") given["probes"] = 5;
    cases.push_back({method, given});
  }
  const auto add = [&](const char* name, const Json& given) { cases.push_back({&find_method(name), given}); };
  add("wanda-sp", {{"ratio", 0.5}, {"scope", "alpha"}});
  add("taylor", {{"ratio", 0.5}, {"form", "group"}});
  add("taylor", {{"ratio", 0.5}, {"form", "gate"}});
  add("mini-llm", {{"ratio", 0.5}, {"gradient", "exact"}});
  add("mini-llm", {{"ratio", 0.5}, {"probes", 4}, {"zo-space", "weights"}, {"iterations", 2}});
  add("policy-gradient", {{"ratio", 0.5}, {"over", "halves"}, {"steps", 3}});
  add("shapley", {{"layers", 2}, {"estimator", "subsets"}});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, MethodInRanks, testing::ValuesIn(method_cases()), [](const auto& info) {
  std::string name = std::string(info.param.method->name) + "_" + std::to_string(info.index);
  std::ranges::replace(name, '-', '_');
  return name;
});

constexpr double kSameStatistic = 1e-12;  // relative: float64 sums in another order

// Of two tokens a batch, so that no rank sees all experts, and of six ranks one has no sequence.
TEST(InsideOfRanks, ReadsAreThoseOfOneProcess) {
  const auto sparse = [](const Placement& placement) {
    return test::pico_model(test::family_named("mixtral"), test::PicoOptions{}, placement);
  };
  const TokenBatches text = random_tokens(5, 2, 3, 64);
  const SweepOptions options{.batch_tokens = 2};
  const std::vector<LayerReads> alone = read_moments(sparse({}), text, options);
  for (const int size : {2, 3, 6})
    test::in_ranks(size, [&](const Ranks& ranks) {
      const std::vector<LayerReads> shared = read_moments(sparse({.ranks = ranks}), text, options);
      ASSERT_EQ(shared.size(), alone.size());
      for (std::size_t i = 0; i < alone.size(); ++i) {
        ASSERT_EQ(shared[i].size(), alone[i].size());
        for (const auto& [place, moments] : alone[i]) {
          const ReadMoments& found = shared[i].at(place);
          EXPECT_EQ(found.tokens, moments.tokens);
          EXPECT_TRUE(torch::allclose(found.sum, moments.sum, kSameStatistic, kSameStatistic));
          EXPECT_TRUE(torch::allclose(found.squares, moments.squares, kSameStatistic, 0));
        }
      }
      ranks.finish(0);
    });
}

// Of more sequences than run together.
TEST(InsideOfRanks, GradientsAreThoseOfOneProcess) {
  const auto ids = first_sequences(random_tokens(20, 64, 3), 20, 64, torch::kCPU);
  const auto scores = [&](TaylorForm form, const Placement& placement) {
    return all_scores(taylor_scores(pico_model(test::tiny_llama(2), 1, {}, placement), ids, form));
  };
  for (const TaylorForm form : {TaylorForm::elements, TaylorForm::group, TaylorForm::gate}) {
    const std::vector<double> alone = scores(form, {});
    const double largest = *std::ranges::max_element(alone);
    test::in_ranks(2, [&](const Ranks& ranks) {
      const std::vector<double> shared = scores(form, {.ranks = ranks});
      ASSERT_EQ(shared.size(), alone.size());
      for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_NEAR(shared[i], alone[i], kSameStatistic * largest);
      ranks.finish(0);
    });
  }
}

}  // namespace
}  // namespace streamline
