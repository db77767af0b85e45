// SPDX-License-Identifier: Apache-2.0
// Slices: a sliced layer computes what the whole one does with the heads and channels switched off, in memory and
// written in every form.
#include "streamline/plan/slice.h"
#include "streamline/arch/layer_shapes.h"
#include "support/core/golden_families.h"
#include "support/core/plans.h"
#include "support/torch/golden.h"
#include "support/torch/pico.h"
#include "support/torch/reference.h"
#include "surgery/written.h"

namespace streamline::test {
namespace {

constexpr double kSliced = 1e-4;  // of the largest logit, in float32

enum class Widths { equal, differing };

// Every second unit from `first` on, and as many as are wanted.
KeptUnits some_units(std::int64_t of, std::int64_t count, std::int64_t first) {
  KeptUnits units{.of = of};
  for (std::int64_t unit = first % 2; unit < of && units.count() < count; unit += 2) units.kept.push_back(unit);
  for (std::int64_t unit = 1 - first % 2; unit < of && units.count() < count; unit += 2) units.kept.push_back(unit);
  std::sort(units.kept.begin(), units.kept.end());
  return units;
}

// Half of the groups (where heads can go) and three of five channels; with differing widths more in each layer.
Plan slicing_plan(const Config& config, Widths widths, bool heads = true) {
  Plan plan = keep_all(config.layer_count());
  for (std::int64_t i = 0; i < config.layer_count(); ++i) {
    const LayerConfig& layer = config.layers[static_cast<std::size_t>(i)];
    const std::int64_t more = widths == Widths::differing ? i : 0;
    LayerSlice slice;
    if (layer.attention && heads && layer.attention->qk_norm != QkNorm::whole) {
      const std::int64_t of = layer.attention->kv_heads;
      slice.kv_heads = some_units(of, std::min(of, std::max<std::int64_t>(1, of / 2) + more % 2), i);
    }
    if (layer.mlp) {
      const std::int64_t of = layer.mlp->intermediate, count = std::min(of, of * 3 / 5 + 2 * more);
      const std::int64_t experts = layer.mlp->experts ? layer.mlp->experts->count : 1;
      for (std::int64_t expert = 0; expert < experts; ++expert)
        slice.channels.push_back(some_units(of, count, i + expert));
    }
    slice = simplified(std::move(slice));
    if (!slice.empty()) plan.slices[i] = std::move(slice);
  }
  return plan;
}

double difference(const Model& a, const Model& b, const torch::Tensor& ids) {
  const torch::NoGradGuard no_grad;
  return relative_difference(forward_logits(a, ids), forward_logits(b, ids));
}

class SlicedGolden : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Surgery, SlicedGolden, testing::ValuesIn(kGoldenFamilies),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(SlicedGolden, ComputesWhatTheMaskedModelDoes) {
  REQUIRE_SHARED("golden");
  const Golden golden = load_golden(GetParam());
  const Model model = Model::open(golden.checkpoint, {.dtype = torch::kFloat});
  for (const Widths widths : {Widths::equal, Widths::differing}) {
    const Plan plan = slicing_plan(model.config(), widths);
    const Model sliced = model.view(plan, {});
    EXPECT_LT(difference(sliced, model.masked(plan), golden.ids), kSliced);
    EXPECT_GT(difference(sliced, model, golden.ids), 10 * kSliced);  // something went
    EXPECT_LT(sliced.parameters(), model.parameters());
  }
}

TEST_P(SlicedGolden, IsWrittenAsItComputes) {
  REQUIRE_SHARED("golden");
  const Golden golden = load_golden(GetParam());
  const Model model = Model::open(golden.checkpoint, {.dtype = torch::kFloat});
  const std::int64_t first_heads = model.config().layers.front().attention->heads;
  for (const Widths widths : {Widths::equal, Widths::differing}) {
    const TemporaryDirectory directory;
    const Plan plan = slicing_plan(model.config(), widths);
    const AppliedPlan applied = apply_plan(model, plan, {}, directory.path() / "out", {});
    const Model written = open_model(directory.path() / "out");
    EXPECT_TRUE(applied.ordinary);
    EXPECT_THAT(applied.notes, testing::Contains(testing::HasSubstr("slices take")));
    EXPECT_LT(difference(written, model.masked(plan), golden.ids), kSliced);
    EXPECT_LT(written.parameters(), model.parameters());
    for (const LayerConfig& layer : written.config().layers)
      EXPECT_EQ(layer.attention->head_dim, model.config().layers[0].attention->head_dim);
    const LayerConfig& narrow = model.view(plan, {}).config().layers.front();
    const bool refused =
        model.config().hidden % first_heads == 0 && model.config().hidden % narrow.attention->heads != 0;
    const bool padded = widths == Widths::differing || !says_heads(*model.config().family) || refused ||
                        (narrow.mlp->experts && narrow.mlp->intermediate % 8 != 0);
    EXPECT_TRUE(padded || written.parameters() == model.view(plan, {}).parameters());  // nothing is padded
  }
}

TEST_P(SlicedGolden, KeepsItsOwnWidthsInThePerLayerForm) {
  REQUIRE_SHARED("golden");
  const Golden golden = load_golden(GetParam());
  const Model model = Model::open(golden.checkpoint, {.dtype = torch::kFloat});
  const LayerConfig& first = model.config().layers.front();
  if (first.residual != Residual::sequential) GTEST_SKIP() << "its halves do not follow each other";
  const TemporaryDirectory directory;
  const bool heads = says_heads(*model.config().family);
  const Plan plan = slicing_plan(model.config(), Widths::differing, heads);
  const AppliedPlan applied = apply_plan(model, plan, {}, directory.path() / "out", {.format = Format::per_layer});
  const Model written = open_model(directory.path() / "out");
  EXPECT_EQ(written.parameters(), model.view(plan, {}).parameters());
  EXPECT_EQ(applied.format, "per-layer");
  EXPECT_THAT(applied.notes, testing::Contains(testing::HasSubstr("all of it is gained")));
  EXPECT_LT(difference(written, model.masked(plan), golden.ids), kSliced);
}

TEST(Slices, HeadsUnderANormOfAllHeadsAreRefused) {
  REQUIRE_SHARED("golden");
  const Model model = Model::open(load_golden("olmo2").checkpoint, {.dtype = torch::kFloat});
  Plan plan = keep_all(model.layer_count());
  const std::int64_t of = model.config().layers[0].attention->kv_heads;
  plan.slices[0] = {.kv_heads = some_units(of, of - 1, 0)};
  EXPECT_ERROR(model.view(plan, {}), unsupported, "norms of q and k go over all heads together");
}

TEST(Slices, OfSlicedModelsAreSlicedOnce) {
  const Model model = pico_model(family_named("llama"), {}, {.dtype = torch::kFloat});
  const Plan first = slicing_plan(model.config(), Widths::equal);
  const Model once = model.view(first, {});
  const Plan second = slicing_plan(once.config(), Widths::differing, /*heads=*/false);
  const Model twice = once.view(second, {});
  EXPECT_LT(difference(twice, once.masked(second), pico_ids(2, 11, 64)), kSliced);
  EXPECT_LT(twice.parameters(), once.parameters());
}

TEST(Slices, AreWrittenBesideDroppedLayersAndHalves) {
  const TemporaryDirectory directory;
  const Model model = pico_model(family_named("qwen3"), {}, {.dtype = torch::kFloat});
  Plan plan = plan_of({keep, mlp_only, drop, attention_only});
  plan.slices[0] = {.kv_heads = KeptUnits{2, {1}}, .channels = {some_units(48, 20, 0)}};
  plan.slices[1] = {.channels = {some_units(48, 17, 1)}};
  plan.slices[3] = {.kv_heads = KeptUnits{2, {0}}};
  apply_plan(model, plan, {}, directory.path() / "out", {});
  const Model written = open_model(directory.path() / "out");
  EXPECT_EQ(written.config().layers[0].attention->kv_heads, 1);
  EXPECT_EQ(written.config().layers[0].mlp->intermediate, 20);
  EXPECT_LT(difference(written, model.view(plan, {}), pico_ids(2, 11, 64)), kSliced);
}

TEST(Slices, GiveEachMlpItsWidthInDecilm) {
  const TemporaryDirectory directory;
  const Model model = pico_model(family_named("llama"), {.intermediate = 1024}, {.dtype = torch::kFloat});
  Plan plan = keep_all(4);
  plan.slices[0] = {.kv_heads = KeptUnits{2, {1}}, .channels = {some_units(1024, 512, 0)}};
  plan.slices[2] = {.channels = {some_units(1024, 300, 1)}};
  const AppliedPlan applied = apply_plan(model, plan, {}, directory.path() / "out", {.format = Format::decilm});
  const Model written = open_model(directory.path() / "out");
  EXPECT_EQ(written.config().layers[0].mlp->intermediate, 512);
  EXPECT_EQ(written.config().layers[2].mlp->intermediate, 512);  // 300 in steps of 256
  EXPECT_EQ(written.config().layers[1].mlp->intermediate, 1024);
  EXPECT_EQ(written.config().layers[0].attention->kv_heads, 2);
  EXPECT_THAT(applied.notes, testing::Contains(testing::HasSubstr("DeciLM has one number of heads")));
  EXPECT_LT(difference(written, model.view(plan, {}), pico_ids(2, 11, 64)), kSliced);
}

}  // namespace
}  // namespace streamline::test
