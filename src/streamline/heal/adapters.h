// SPDX-License-Identifier: Apache-2.0
// What learns in every decoder layer while its matrices stay as they are, and is merged into it in the end: low-rank
// updates beside chosen matrices (LoRA, Hu et al., arXiv 2106.09685), also with the length of every row apart (DoRA,
// Liu et al., arXiv 2402.09353), or the weights of the layers' norms.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "streamline/base/random.h"
#include "streamline/engine/model.h"

namespace streamline {

enum class AdapterKind { lora, dora, norms };

struct AdapterOptions {
  AdapterKind kind = AdapterKind::lora;
  std::int64_t rank = 64;
  double alpha = 0;       // the update is scaled by alpha / rank; 0: alpha = rank
  double dropout = 0.05;  // share of an adapter's input that is left out while it learns
  // Empty: the matrices of the MLP (Gromov et al., arXiv 2403.17887, appendix A.1). Of norms: all there are.
  std::vector<Role> roles = {};

  double scale() const { return alpha == 0 ? 1 : alpha / static_cast<double>(rank); }
};

struct Adapter {
  std::int64_t layer = 0;
  Role role = Role::down;
  torch::Tensor a = {}, b = {};  // [rank, in] and [out, rank], fp32; undefined for a norm
  torch::Tensor magnitude = {};  // of DoRA: the lengths of the rows, [out]
  torch::Tensor norm = {};       // a norm's weight, [width]

  std::vector<torch::Tensor*> tensors();  // those that are there
  std::vector<const torch::Tensor*> tensors() const;
};

struct Adapters {
  AdapterOptions options = {};  // roles are those that the model has
  std::vector<Adapter> list = {};
  double zeros = 0;  // their share of the weights that adapters are added to, which merging fills

  std::int64_t parameters() const;
};

// Of "mlp", "attention", "all", or names of roles (q, k, v, o, gate, up, down …). Errors: usage.
std::vector<Role> parse_adapter_roles(const std::vector<std::string>& names);

// A uniform in ±1/√in, as PEFT starts it, B zero, magnitudes and norms those of the model, which is as it is. Errors:
// usage for a rank below 1 or above the hidden size, a dropout outside [0, 1), and where no layer has any of the roles
// outside experts.
Adapters initial_adapters(const Model& model, const AdapterOptions& options, Rng& rng);

// Attaches to a layer's matrices what the list has for it; `seed`: of what is dropped, 0: nothing.
void attach(const Adapters& adapters, std::int64_t layer, std::uint64_t seed, LayerWeights& weights);

// The adapters as a change of the model's weights (Model::changed): W + scale · B A, of DoRA with the rows' lengths
// made the magnitudes, and the norms' weights themselves.
std::shared_ptr<const WeightChange> merging(Adapters adapters);

}  // namespace streamline
