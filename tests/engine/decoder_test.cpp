// SPDX-License-Identifier: Apache-2.0
// Models that are cut in one phase: against the whole text computed anew without caches, in which the prompt and what
// follows pass each layer in their own way.
#include "streamline/engine/decoder.h"

#include <set>

#include "streamline/engine/generate.h"
#include "streamline/nn/halves.h"
#include "streamline/plan/drop_halves.h"
#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using namespace test;

constexpr std::int64_t kDecoderLayers = 6;
const std::vector<TokenId> kDecoderPrompt = {3, 14, 15, 9, 26, 5};

Model decoder_model(const char* family) { return pico_model(family_named(family), {.layers = kDecoderLayers}); }

// What a layer makes of x with what an action leaves of it.
torch::Tensor left_of(const Model& model, std::int64_t layer, Action action, const torch::Tensor& x,
                      const Positions& positions) {
  const LayerWeights whole = model.layer(layer);
  if (action == Action::drop) return x;
  if (action == Action::keep) return block_forward(model.config(), whole, x, positions);
  LayerConfig config = whole.config;
  const bool attention = action == Action::drop_mlp;
  attention ? config.mlp.reset() : config.attention.reset();
  return block_forward(model.config(), joined(config, attention ? &whole : nullptr, attention ? nullptr : &whole), x,
                       positions);
}

std::vector<TokenId> greedy_by_definition(const Model& model, const Plan& plan, CutIn cut_in, std::int64_t count) {
  const torch::NoGradGuard no_grad;
  std::vector<TokenId> tokens = kDecoderPrompt, result;
  const auto prompt = std::ssize(kDecoderPrompt);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::vector<std::int64_t> ids(tokens.begin(), tokens.end());
    const auto length = std::ssize(ids);
    torch::Tensor x = model.embed(torch::tensor(ids, torch::kLong).unsqueeze(0));
    const Positions positions = rope_positions(model.config(), 0, length, torch::kCPU);
    for (const Segment& segment : plan.segments)
      for (std::int64_t layer = segment.first; layer <= segment.last; ++layer) {
        const auto all = left_of(model, layer, Action::keep, x, positions);
        const auto left = left_of(model, layer, segment.action, x, positions);
        const auto &before = cut_in == CutIn::decode ? all : left, &after = cut_in == CutIn::decode ? left : all;
        x = torch::cat({before.narrow(1, 0, prompt), after.narrow(1, prompt, length - prompt)}, 1);
      }
    result.push_back(static_cast<TokenId>(model.logits(x)[0][-1].argmax().item<std::int64_t>()));
    tokens.push_back(result.back());
  }
  return result;
}

TEST(Decoder, CutsInTheOnePhaseOnly) {
  const Plan plans[] = {drop_layers(kDecoderLayers, {1, 3, 4}), drop_halves(kDecoderLayers, {0, 2}, {2, 3, 5}),
                        keep_all(kDecoderLayers)};
  for (const char* family : {"llama", "qwen3", "opt", "gemma2"})
    for (const Plan& plan : plans) {
      if (std::string(family) == "gemma2" && plan.segments.size() > 3) continue;  // only whole layers are asked of it
      const Model model = decoder_model(family);
      for (const CutIn cut_in : {CutIn::decode, CutIn::prefill})
        EXPECT_EQ(generate(PhasedModel(model, plan, {}, cut_in), kDecoderPrompt, {.max_tokens = 10}),
                  greedy_by_definition(model, plan, cut_in, 10))
            << family << ' ' << summary(plan) << ' ' << static_cast<int>(cut_in);
    }
}

TEST(Decoder, CutsEverywhereAsTheViewDoes) {
  const Model model = decoder_model("llama");
  const Plan plan = drop_layers(kDecoderLayers, {1, 3});
  EXPECT_EQ(generate(PhasedModel(model, plan, {}, CutIn::everywhere), kDecoderPrompt, {.max_tokens = 10}),
            generate(model.view(plan, {}), kDecoderPrompt, {.max_tokens = 10}));
}

// The three differ: else the tests above would show nothing.
TEST(Decoder, ThePhaseMatters) {
  const Model model = decoder_model("llama");
  const Plan plan = drop_layers(kDecoderLayers, {1, 3, 4});
  std::set<std::vector<TokenId>> texts = {generate(model, kDecoderPrompt, {.max_tokens = 12})};
  for (const CutIn cut_in : {CutIn::everywhere, CutIn::decode, CutIn::prefill})
    texts.insert(generate(PhasedModel(model, plan, {}, cut_in), kDecoderPrompt, {.max_tokens = 12}));
  EXPECT_EQ(texts.size(), 4U);
}

TEST(Decoder, RefusesWhatHasReadNoPrompt) {
  const Model model = decoder_model("llama");
  const Plan plan = cut_window(kDecoderLayers, 2, 2, "layer");
  for (const CutIn cut_in : {CutIn::decode, CutIn::prefill})
    EXPECT_ERROR(PhasedModel(model, plan, {}, cut_in), usage, "'layer' in place of layers 2..3");
  EXPECT_ERROR(parse_cut_in("prompt"), usage, "'prompt' is no --cut-in; expected one of everywhere, decode, prefill");
}

}  // namespace
}  // namespace streamline
