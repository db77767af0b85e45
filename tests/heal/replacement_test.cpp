// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/replacement.h"

#include "streamline/engine/sweep.h"
#include "streamline/heal/student.h"
#include "tests/heal/pico.h"
#include "tests/support/core/expect.h"

namespace streamline {
namespace {

using test::pico_model;

TEST(Replacement, CountsItsParameters) {
  const Config config = config_from_json(test::tiny_llama(), "tiny");
  EXPECT_EQ(replacement_parameters(find_replacement("layer"), config, 2), 46208);
  EXPECT_EQ(replacement_parameters(find_replacement("ffn"), config, 2), 33088);                   // 8 d^2 + 5 d
  EXPECT_EQ(replacement_parameters(find_replacement("swiglu-residual"), config, 2), 33792 + 64);  // 3 d f, and the norm
}

TEST(Replacement, OfUnknownNameIsAnErrorThatListsWhatExists) {
  EXPECT_ERROR(find_replacement("mlp"), usage, "'mlp'; there are none, layer, ffn, swiglu-residual");
  EXPECT_ERROR(parse_replacement("lyer", "auto"), usage, ", auto; the nearest is 'layer'");
}

TEST(Replacement, StartsWithEveryTensorThatItsShapePromises) {
  for (const Json& json : {test::tiny_llama(), test::tiny_opt(), test::tiny_qwen3()}) {
    const Model model = pico_model(json, 1);
    for (const Replacement* replacement : replacements()) {
      SCOPED_TRACE(std::string(replacement->name) + " of " + json["model_type"].get<std::string>());
      Rng rng(0);
      const LayerWeights weights = replacement->initial(model, 1, rng);
      const auto promised = layer_tensors(model.config(), replacement->shape(model.config(), 1), 1);
      EXPECT_EQ(weights.all().size(), promised.size());
      for (const ExpectedTensor& tensor : promised) {
        ASSERT_TRUE(weights.has(tensor.role)) << tensor.name;
        const RoleTensors& found = weights.at(tensor.role);
        const torch::Tensor& value = tensor.part == Part::weight ? found.weight : found.bias;
        ASSERT_TRUE(value.defined()) << tensor.name;
        EXPECT_EQ(value.sizes().vec(), tensor.shape) << tensor.name;
        EXPECT_EQ(value.scalar_type(), torch::kFloat32) << tensor.name;
      }
    }
  }
}

TEST(Replacement, LayerIsACopyOfTheFirstCutLayerAndNoAlias) {
  const Model model = pico_model(test::tiny_llama(), 1);
  Rng rng(0);
  LayerWeights weights = find_replacement("layer").initial(model, 2, rng);
  EXPECT_TRUE(test::same(weights, model.layer(2)));
  weights.all().front().zero_();
  EXPECT_FALSE(test::same(weights, model.layer(2)));
}

TEST(Replacement, FfnIsDrawnFromANormalOfTheConfigsRange) {
  Json json = test::tiny_llama();
  json["initializer_range"] = 0.05;
  Rng rng(3);
  const LayerWeights weights = find_replacement("ffn").initial(pico_model(json, 1), 2, rng);
  constexpr double kFourSigma = 4 * 0.05 / 181;  // of the deviation of 64 * 256 draws, about deviation / sqrt(2 n)
  EXPECT_NEAR(weights.at(Role::up).weight.std().item<double>(), 0.05, kFourSigma);
  EXPECT_NEAR(weights.at(Role::up).weight.mean().item<double>(), 0, 4 * 0.05 / 128);
  EXPECT_EQ(weights.at(Role::down).bias.abs().max().item<double>(), 0);
}

// LLM-Streamline check 23: at step 0 the model is the one that lacks the window.
TEST(Replacement, ResidualFormsStartAsTheIdentity) {
  const auto ids = to_tensor(test::random_tokens(2, 9, 3), {0, 1}, torch::kCPU);
  for (const Json& json : {test::tiny_llama(), test::tiny_opt()})
    for (const char* name : {"swiglu-residual", "ffn-residual"}) {
      SCOPED_TRACE(std::string(name) + " of " + json["model_type"].get<std::string>());
      const Model model = pico_model(json, 1);
      Rng rng(0);
      const LayerWeights initial = find_replacement(name).initial(model, 1, rng);
      const Student student(model.config(), {}, {initial});
      const auto x = torch::randn({2, 5, 64});
      EXPECT_TRUE(torch::equal(student.forward(x), x));
      const std::int64_t layers = model.layer_count();
      const Model replaced = model.view(cut_window(layers, 1, 2, name), {{1, initial}});
      EXPECT_TRUE(
          torch::equal(forward_logits(replaced, ids), forward_logits(model.view(cut_window(layers, 1, 2), {}), ids)));
    }
}

TEST(Replacement, SaysWhichResultsAreOrdinaryLayers) {
  for (const Json& json : {test::tiny_llama(), test::tiny_opt(), test::tiny_qwen3()}) {
    const Config config = config_from_json(json, "tiny");
    EXPECT_EQ(folding_of(find_replacement("layer"), config), Folding::ordinary_layer);
    EXPECT_EQ(folding_of(find_replacement("swiglu-residual"), config), Folding::ordinary_layer);
    EXPECT_EQ(folding_of(find_replacement("ffn"), config), Folding::extension);
  }
}

}  // namespace
}  // namespace streamline
