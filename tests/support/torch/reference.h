// SPDX-License-Identifier: Apache-2.0
// The oracle of the forward pass: plain loops in float64 over plain vectors, one token after the other, written to be
// read beside the papers. Shares no code with src/streamline/nn.
#pragma once

#include <map>
#include <tuple>
#include <vector>

#include "streamline/arch/config.h"
#include "streamline/nn/weights.h"

namespace streamline::test {

using Row = std::vector<double>;
using Matrix = std::vector<Row>;  // [tokens][width]

// Weights by role and expert (-1 outside the experts); matrices [out][in] whatever the file, norms and biases have one
// row. q, k and v, and gate and up, are matrices of their own even where a file has them in one.
using ReferenceWeights = std::map<std::tuple<Role, Part, std::int64_t>, Matrix>;

ReferenceWeights reference_weights(const Checkpoint& checkpoint, const Config& config, std::int64_t layer);
ReferenceWeights reference_weights(const LayerWeights& weights);

// One layer over one sequence that starts at position 0.
Matrix reference_layer(const Config& config, const LayerConfig& layer, const ReferenceWeights& weights,
                       const Matrix& x);
// [layers + 1] hidden states of one sequence, the last before the final norm.
std::vector<Matrix> reference_hidden_states(const Checkpoint& checkpoint, const Config& config,
                                            const std::vector<std::int64_t>& ids);
Matrix reference_logits(const Checkpoint& checkpoint, const Config& config, const Matrix& last);

Matrix to_matrix(const torch::Tensor& tensor);             // [rows, width] of any type
torch::Tensor to_torch(const std::vector<Matrix>& batch);  // [batch, seq, width] of double

// max |a - b| / max |b|: what tolerances are stated in.
double relative_difference(const torch::Tensor& a, const torch::Tensor& b);
// Sums of float32 in another order stay below it.
constexpr double kFloat32 = 1e-5;

}  // namespace streamline::test
