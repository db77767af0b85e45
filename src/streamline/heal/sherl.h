// SPDX-License-Identifier: Apache-2.0
// SHERL (Diao et al., arXiv 2407.07523): what early, frozen layers said is merged into one vector a token, layers that
// say the same count less, and the last layers read it; only the merging learns, and nothing goes back into the early
// layers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "streamline/base/random.h"
#include "streamline/engine/model.h"

namespace streamline {

enum class SherlStart {
  identity,  // the model as it is: the stream goes through, and the merged vector adds nothing yet
  paper,     // weights of deviation 0.01, and a closed gate: the stream adds nothing yet
};

struct SherlOptions {
  std::int64_t late = 1;        // layers that read the merged vector, the last ones
  std::int64_t features = 8;    // hidden states that are merged, the embedding's included
  std::int64_t reduction = 16;  // the width of the merging is hidden / reduction
  bool feature_norm = true;     // divide features by their root mean square: states grow with depth
  SherlStart start = SherlStart::identity;
};

// One feature's reducer: a = relu(F1 f + b1), x = (F2 a + b2 + a) * sigmoid(F3 a + b3).
struct SherlReducer {
  torch::Tensor f1, b1, f2, b2, f3, b3;  // [width, hidden], [width], [width, width] …
};

struct SherlAdapter {
  std::int64_t at = 0;                      // the layer whose input it makes
  std::vector<std::int64_t> features = {};  // i of the h_i that it reads, ascending; the last is the guide
  double epsilon = 0;                       // of the features' norm; 0: they are not normalised
  std::vector<SherlReducer> reducers = {};
  torch::Tensor score = {}, score_bias = {};  // w [width], b []
  torch::Tensor out = {}, out_bias = {};      // Fo [hidden, width], bo [hidden]
  torch::Tensor gate = {};                    // G []; the stream counts tanh(G / 0.1)

  std::vector<torch::Tensor*> tensors();  // in a fixed order
  std::vector<std::pair<std::string, torch::Tensor>> named() const;
  std::int64_t parameters() const;
};

// Which hidden states are merged: h_0 and others up to h_at, evenly spread.
std::vector<std::int64_t> spread_features(std::int64_t at, std::int64_t count);

// Errors: usage for a late route of no layer or of all.
void check_late(const Model& model, const SherlOptions& options);

// fp32. Errors: usage for a late route of no layer or of all, fewer than two features, more than there are hidden
// states, and a reduction that leaves no width.
SherlAdapter initial_sherl(const Model& model, const SherlOptions& options, Rng& rng);

// The pool's members x_i, [..., n, width], around the guide g, [..., width].
struct SherlMerge {
  torch::Tensor redundancy;  // R_i = sum_j relu(cos(x_i, x_j)), [..., n]
  torch::Tensor weights;     // p_i, relu(w (x_i * g) + b) / R_i, their sum made 1, or all zero, [..., n]
  torch::Tensor merged;      // sum_i p_i x_i + g, [..., width]
};
SherlMerge merge_pool(const torch::Tensor& pool, const torch::Tensor& guide, const torch::Tensor& score,
                      const torch::Tensor& bias);

// features: h_i of adapter.features; stream: h_at. Fo relu(y) + bo + tanh(G / 0.1) stream, in the stream's type.
torch::Tensor sherl_output(const SherlAdapter& adapter, const std::vector<torch::Tensor>& features,
                           const torch::Tensor& stream);

std::shared_ptr<const SideRoute> route_of(SherlAdapter adapter, const Placement& placement);

// The file beside a checkpoint, streamline/sherl.safetensors (docs/methods/sherl.md). Errors: io; format for a damaged
// file; mismatch for another model.
void write_sherl(const SherlAdapter& adapter, const Model& model, const std::filesystem::path& file);
SherlAdapter read_sherl(const std::filesystem::path& file, const Model& model);
// The model with the route that lies beside it, or as it is where there is none.
Model with_side_route(const Model& model);

}  // namespace streamline
