// SPDX-License-Identifier: Apache-2.0
// What the tests of pruning methods share.
#pragma once

#include <algorithm>
#include <cmath>

#include "prune/score_samples.h"
#include "streamline/prune/method.h"
#include "support/core/expect.h"

namespace streamline::test {

// A method on a model and scores that a test sets up.
class MethodTest : public testing::Test {
 protected:
  explicit MethodTest(std::string method) : method_(std::move(method)) {}

  Proposal propose(const Json& given) {
    const Method& method = find_method(method_);
    PruneContext context{.model = model, .calibration = calibration, .replacement = replacement};
    if (scores.layers > 0) context.scores = &scores;
    return method.propose(context, resolve_params(method.params, given, "test"));
  }

  std::string method_;
  Model model = pico_model(tiny_llama(), 1);
  TokenBatches calibration = random_tokens(2, 12, 3);
  Scores scores = {};  // of no layers: the method makes its own
  ReplacementUse replacement = {};
};

// The layers that a plan drops or replaces whole.
inline std::vector<std::int64_t> dropped(const Plan& plan) {
  std::vector<std::int64_t> layers;
  for (const Segment& segment : plan.segments)
    if (segment.action == Action::drop || segment.action == Action::replace)
      for (std::int64_t layer = segment.first; layer <= segment.last; ++layer) layers.push_back(layer);
  return layers;
}

// A model of the shape of Llama-2-7B (meta-llama/Llama-2-7b-hf).
inline Config llama_2_7b() {
  return config_from_json({{"model_type", "llama"},
                           {"hidden_size", 4096},
                           {"intermediate_size", 11008},
                           {"num_hidden_layers", 32},
                           {"num_attention_heads", 32},
                           {"num_key_value_heads", 32},
                           {"vocab_size", 32000},
                           {"max_position_embeddings", 4096},
                           {"rms_norm_eps", 1e-5},
                           {"tie_word_embeddings", false}},
                          "Llama-2-7B");
}

// The parameters that a plan for its 32 layers leaves of it.
inline std::int64_t left_of_llama_2_7b(const Plan& plan) {
  Config config = llama_2_7b();
  EXPECT_EQ(total_parameters(config), 6'738'415'616);
  const std::vector<std::int64_t> gone = dropped(plan);
  for (auto layer = gone.rbegin(); layer != gone.rend(); ++layer) config.layers.erase(config.layers.begin() + *layer);
  return total_parameters(config);
}

// The tiny model with layers first … last writing nothing into the residual stream.
inline Model with_identity_layers(std::int64_t layers, std::int64_t first, std::int64_t last) {
  return pico_model(tiny_llama(layers), 1, [=](const ExpectedTensor& tensor, std::vector<float>& values) {
    const std::int64_t layer = layer_of(tensor);
    if (layer >= first && layer <= last && writes_to_stream(tensor)) values.assign(values.size(), 0.0F);
  });
}

}  // namespace streamline::test
