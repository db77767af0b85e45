// SPDX-License-Identifier: Apache-2.0
// Halves written as ordinary layers: what is written computes what was meant, and what stays is byte for byte the same.
#include "streamline/arch/cache_size.h"
#include "streamline/surgery/format.h"
#include "streamline/surgery/widths.h"
#include "support/core/plans.h"
#include "support/torch/pico.h"
#include "surgery/written.h"

namespace streamline::test {
namespace {

TEST(Halves, AnAttentionAndTheNextMlpBecomeOneLayer) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 31);
  const Plan plan = plan_of({keep, attention_only, drop, mlp_only, keep, keep});
  const AppliedPlan applied = apply_plan(source, plan, {}, directory.path() / "out", {});
  const Model result = open_model(directory.path() / "out");
  EXPECT_TRUE(applied.ordinary);
  EXPECT_EQ(result.layer_count(), 4);
  const std::string layer = "model.layers.1.";
  EXPECT_EQ(tensor_bytes(result.checkpoint(), layer + "self_attn.o_proj.weight"),
            tensor_bytes(source.checkpoint(), "model.layers.1.self_attn.o_proj.weight"));
  EXPECT_EQ(tensor_bytes(result.checkpoint(), layer + "input_layernorm.weight"),
            tensor_bytes(source.checkpoint(), "model.layers.1.input_layernorm.weight"));
  for (const std::string name : {"mlp.down_proj.weight", "post_attention_layernorm.weight"})
    EXPECT_EQ(tensor_bytes(result.checkpoint(), layer + name),
              tensor_bytes(source.checkpoint(), "model.layers.3." + name));
  EXPECT_EQ(applied.parameters, source.view(plan, {}).parameters());
  const torch::Tensor ids = some_tokens(256);
  EXPECT_TRUE(torch::equal(forward_logits(result, ids), forward_logits(source.view(plan, {}), ids)));
}

TEST(Halves, AHalfWithoutPartnerStandsBesideZeros) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 32);
  const Plan plan = plan_of({mlp_only, attention_only, keep, keep, keep, attention_only});
  const AppliedPlan applied = apply_plan(source, plan, {}, directory.path() / "out", {});
  const Model result = open_model(directory.path() / "out");
  EXPECT_EQ(result.layer_count(), 6);
  EXPECT_EQ(result.layer(0).at(Role::o).weight.abs().max().item<float>(), 0);
  EXPECT_EQ(result.layer(1).at(Role::down).weight.abs().max().item<float>(), 0);
  EXPECT_EQ(result.layer(0).at(Role::attention_norm).weight.min().item<float>(), 1);
  EXPECT_THAT(applied.notes, ::testing::Contains(::testing::HasSubstr("3 have a half without partner")));
  const torch::Tensor ids = some_tokens(256);
  const torch::Tensor meant = forward_logits(source.view(plan, {}), ids), got = forward_logits(result, ids);
  EXPECT_LT((meant - got).abs().max().item<double>(), kFloat32 * meant.abs().max().item<double>());
}

// What is said of a result's size is that of the file, whatever stands beside zeros, is narrower or was trained.
TEST(Halves, AResultIsAsLargeAsItIsSaidToBe) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 32);
  Plan narrow = plan_of({mlp_only, mlp_only, attention_only, keep, attention_only, mlp_only});
  narrow.slices[3].channels = {{.of = source.config().layers[3].mlp->intermediate, .kept = {0, 1, 2, 5, 9}}};
  Plan replaced = keep_all(6);
  replaced.segments = {{.first = 0, .last = 2, .action = attention_only},
                       {.first = 3, .last = 3, .action = keep},
                       {.first = 4, .last = 5, .action = Action::replace, .replacement = "layer"}};
  const std::vector<Plan> plans = {plan_of({attention_only, attention_only, drop, mlp_only, keep, mlp_only}), narrow,
                                   replaced};
  int written = 0;
  for (const Plan& plan : plans)
    for (const Format format : {Format::ordinary, Format::per_layer}) {
      Replacements trained;
      if (&plan == &plans.back()) trained[std::ssize(plan.segments) - 1] = source.layer(4);
      const std::filesystem::path out = directory.path() / std::to_string(written++);
      apply_plan(source, plan, trained, out, {.format = format});
      const LayerForm form = resolve_form(source.checkpoint(), source.config(), format);
      const Model result = open_model(out), said = written_view(source, plan, trained, form);
      EXPECT_EQ(said.parameters(), result.parameters()) << written;
      EXPECT_EQ(said.weight_bytes(), result.weight_bytes()) << written;
      EXPECT_EQ(cache_values_per_token(said.config()), cache_values_per_token(result.config())) << written;
    }
}

class HalvesOf : public testing::TestWithParam<const Family*> {};
INSTANTIATE_TEST_SUITE_P(Contract, HalvesOf, testing::ValuesIn(families().begin(), families().end()),
                         [](const auto& info) { return std::string(info.param->name); });

TEST_P(HalvesOf, EveryFamilyAreWrittenAsTheyCompute) {
  const TemporaryDirectory directory;
  const Model source = pico_model(*GetParam(), {.biases = true});
  const Plan plan = plan_of({mlp_only, attention_only, mlp_only, attention_only});
  apply_plan(source, plan, {}, directory.path() / "out", {});
  const torch::NoGradGuard no_grad;
  const torch::Tensor ids = pico_ids(2, 19, source.config().vocab);
  const torch::Tensor meant = forward_logits(source.view(plan, {}), ids);
  const torch::Tensor got = forward_logits(open_model(directory.path() / "out"), ids);
  EXPECT_LT((meant - got).abs().max().item<double>(), kFloat32 * meant.abs().max().item<double>());
}

TEST(Halves, ANormThatFollowsTheSumIsRefused) {
  const TemporaryDirectory directory;
  const Model source = pico_model(family_named("opt"), {.layers = 3, .extra = {{"do_layer_norm_before", false}}});
  EXPECT_ERROR(apply_plan(source, plan_of({keep, mlp_only, keep}), {}, directory.path() / "out", {}), unsupported,
               "a norm follows the sum and would stay");
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "out"));
}

}  // namespace
}  // namespace streamline::test
