// SPDX-License-Identifier: Apache-2.0
// Cuts of the reference checkpoint of every family, opened again: the same tensors, each layer's own window, the same
// logits as the view of the model in memory.
#include "streamline/heal/replacement.h"
#include "support/core/golden_families.h"
#include "surgery/written.h"

namespace streamline::test {
namespace {

class GoldenCut : public testing::TestWithParam<const char*> {
 protected:
  Model source() const { return open_model(shared_folder() / "golden" / GetParam()); }
};

std::vector<std::optional<std::int64_t>> windows(const Config& config) {
  std::vector<std::optional<std::int64_t>> found;
  for (const LayerConfig& layer : config.layers) found.push_back(layer.attention->window);
  return found;
}

TEST_P(GoldenCut, KeepsTensorsWindowsAndLogits) {
  REQUIRE_SHARED(std::string("golden/") + GetParam());
  const Model model = source();
  const std::int64_t layers = model.layer_count();
  const torch::Tensor ids = some_tokens(model.config().vocab, 40);
  for (std::int64_t dropped = 0; dropped < layers; ++dropped) {
    SCOPED_TRACE(dropped);
    const TemporaryDirectory directory;
    const Plan plan = drop_layers(layers, {dropped});
    const AppliedPlan applied = apply_plan(model, plan, {}, directory.path() / "out", {});
    const Model result = open_model(directory.path() / "out");
    EXPECT_TRUE(applied.ordinary);
    EXPECT_EQ(applied.checked, Checked::tensors);
    const AppliedPlan run = apply_plan(model, plan, {}, directory.path() / "run", {.check = Checked::logits});
    EXPECT_EQ(run.largest_logit_difference, 0);
    EXPECT_EQ(layer_indices(result).size(), static_cast<std::size_t>(layers - 1));
    EXPECT_EQ(applied.parameters, model.parameters() - layer_parameters(model.config(), model.checkpoint(), dropped));
    auto expected = windows(model.config());
    expected.erase(expected.begin() + dropped);
    EXPECT_EQ(windows(result.config()), expected);
    for (std::int64_t to = 0; to < layers - 1; ++to) expect_same_layer(model, to < dropped ? to : to + 1, result, to);
    EXPECT_TRUE(torch::equal(forward_logits(result, ids), forward_logits(model.view(plan, {}), ids)));
  }
}

TEST_P(GoldenCut, FoldsALayerAndAnMlpIntoOrdinaryLayers) {
  REQUIRE_SHARED(std::string("golden/") + GetParam());
  const Model model = source();
  const std::int64_t layers = model.layer_count();
  const torch::Tensor ids = some_tokens(model.config().vocab, 40);
  for (const std::int64_t first : {std::int64_t{0}, layers - 2}) {
    const LayerConfig& layer = model.config().layers[first];
    const Replacement& half = find_replacement("swiglu-residual");
    for (const LayerConfig& shape : {layer, half.shape(model.config(), first)}) {
      const TemporaryDirectory directory;
      const Plan plan = cut_window(layers, first, 2, "trained");
      const std::int64_t segment = first == 0 ? 0 : 1;
      const Replacements trained = {{segment, as_stored(random_layer(model.config(), shape, 5), model.config())}};
      const AppliedPlan applied = apply_plan(model, plan, trained, directory.path() / "out", {});
      EXPECT_EQ(applied.ordinary, shape.attention || folding_of(half, model.config()) == Folding::ordinary_layer);
      const Model result = open_model(directory.path() / "out");
      if (applied.ordinary) {
        EXPECT_TRUE(result.config().layers[first] == layer);
      }
      EXPECT_LT(difference(forward_logits(result, ids), forward_logits(model.view(plan, trained), ids)), kFloat32);
      const auto [again, weights] = read_plan_bundle(directory.path() / "out", model);
      EXPECT_TRUE(same(weights.at(segment), trained.at(segment)));
    }
  }
}

// Before training it adds nothing: the model is the one without the window.
TEST_P(GoldenCut, StartsAnMlpInPlaceOfLayersAsTheIdentity) {
  REQUIRE_SHARED(std::string("golden/") + GetParam());
  const Model model = source();
  const std::int64_t layers = model.layer_count();
  const torch::Tensor ids = some_tokens(model.config().vocab, 40);
  Rng rng(1);
  const LayerWeights initial = find_replacement("swiglu-residual").initial(model, layers - 1, rng);
  const Plan replaced = cut_window(layers, layers - 1, 1, "half"), dropped = drop_layers(layers, {layers - 1});
  EXPECT_TRUE(torch::equal(forward_logits(model.view(replaced, {{1, initial}}), ids),
                           forward_logits(model.view(dropped, {}), ids)));
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenCut, testing::ValuesIn(kGoldenFamilies),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace streamline::test
