// SPDX-License-Identifier: Apache-2.0
// A chip: a small classifier on the hidden state of one token behind one layer (Zhu et al., Chip-Tuning,
// arXiv 2410.06541).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "streamline/nn/torch.h"

namespace streamline::chip {

enum class Kind {
  linear,  // A h + b
  mlp,     // A2 relu(A1 h + b1) + b2
};
std::string_view name(Kind kind);        // "linear", "mlp"
Kind kind_named(std::string_view word);  // errors: usage

// What happens to a hidden state before it is classified.
enum class FeatureNorm {
  none,
  standardise,  // each component has mean 0 and variance 1 over the training texts
  rms,          // h / sqrt(mean(h^2) + epsilon): an RMSNorm without weights
  layer,        // (h - mean(h)) / sqrt(var(h) + epsilon): a LayerNorm without weights
};
std::string_view name(FeatureNorm norm);                // "none", "standardise", "rms", "layer"
FeatureNorm feature_norm_named(std::string_view word);  // errors: usage

struct Normaliser {
  FeatureNorm norm = FeatureNorm::none;
  double epsilon = 1e-6;                // of rms and layer
  torch::Tensor mean = {}, scale = {};  // of standardise: (h - mean) * scale, [hidden] float32
};
// `states` [texts, hidden] float32 are the training texts'; only standardise looks at them. A component that never
// changes is left at 0.
Normaliser make_normaliser(FeatureNorm norm, double epsilon, const torch::Tensor& states);
torch::Tensor normalised(const Normaliser& normaliser, const torch::Tensor& states);  // [..., hidden] float32

struct Chip {
  Kind kind = Kind::linear;
  std::int64_t layer = 0;  // behind this one
  Normaliser normaliser = {};
  torch::Tensor hidden_weight = {}, hidden_bias = {};  // of an MLP: [width, hidden], [width]
  torch::Tensor weight = {};                           // [classes, hidden or width]
  torch::Tensor bias = {};                             // [classes]; undefined: none

  std::int64_t classes() const { return weight.size(0); }
};

// What training changes, in a fixed order: hidden_weight, hidden_bias, weight, bias, as far as there are.
std::vector<torch::Tensor> trainable(const Chip& chip);
std::int64_t parameters(const Chip& chip);

// Of hidden states [texts, hidden] of any type → [texts, classes] float32.
torch::Tensor logits(const Chip& chip, const torch::Tensor& states);
// Of states that are normalised already.
torch::Tensor logits_of_normalised(const Chip& chip, const torch::Tensor& features);

}  // namespace streamline::chip
