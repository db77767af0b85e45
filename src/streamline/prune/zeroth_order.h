// SPDX-License-Identifier: Apache-2.0
// Gradients from losses alone (SPSA with normal perturbations; Spall 1992, as MeZO uses it, arXiv 2305.17333): all
// parameters are moved along one random direction, which a seed gives again whenever it is needed and nobody keeps.
#pragma once

#include <functional>
#include <vector>

#include "streamline/engine/model.h"

namespace streamline {

// One direction and the slope of the loss along it.
struct Probe {
  std::uint64_t seed = 0;
  double slope = 0;

  bool operator==(const Probe&) const = default;
};

// (L(+eps) - L(-eps)) / (2 eps), where loss(t) is the loss t along a direction.
double central_slope(const std::function<double(double step)>& loss, double eps);

// `count` probes, whose seeds follow from `seed`; loss(seed, t) is the loss t along that direction. Ranks take probes
// in turn, and all get all slopes.
using LossAlong = std::function<double(std::uint64_t seed, double step)>;
std::vector<Probe> probe_slopes(const LossAlong& loss, std::int64_t count, double eps, std::uint64_t seed,
                                const Ranks& ranks = {});

// The part of a direction that moves one tensor, standard normal fp32: a function of the seed, of what the tensor is
// and of its shape.
torch::Tensor direction(std::uint64_t seed, std::int64_t layer, Role role, std::int64_t expert, at::IntArrayRef shape);

// The mean of slope * direction over these probes: the estimate of one tensor's gradient, fp64. Nothing but this tensor
// and one direction of it is in memory.
torch::Tensor estimated_gradient(const std::vector<Probe>& probes, std::int64_t layer, Role role, std::int64_t expert,
                                 at::IntArrayRef shape);

enum class ProbeSpace {
  weights,  // the matrices that units consist of
  gates,    // a factor on what each head and channel gives
};

// The mean loss of the tokens that follow positions 0 … seq-2 of ids with all units of the model moved `step` along a
// direction. The model itself is not touched: moved weights are made when a layer is asked for.
double loss_along(const Model& model, const torch::Tensor& ids, ProbeSpace space, std::uint64_t seed, double step);
double mean_loss(const Model& model, const torch::Tensor& ids);

// How many values a direction moves: gates, or weights (whose layers are read for it).
std::int64_t probed_values(const Model& model, ProbeSpace space);

// The standard error of the mean of `probes` estimates of one slope, over the root mean square of the `values` slopes:
// sqrt((values + 1) / probes), since that of slope i has the variance (|g|^2 + g_i^2) / probes for normal directions.
double relative_error(std::int64_t values, std::int64_t probes);

// Whether a tensor of a layer is moved in ProbeSpace::weights.
bool is_probed(const LayerConfig& layer, Role role, Part part, std::int64_t expert);

}  // namespace streamline
