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

// The losses at the two ends of a step: `eps` along a direction, and as far against it.
struct EndLosses {
  double above = 0, below = 0;
};
// (L(+eps) - L(-eps)) / (2 eps).
double central_slope(const EndLosses& losses, double eps);

// `count` probes, whose seeds follow from `seed`; losses(seed, eps) are those along that direction. Ranks take probes
// in turn, and all get all slopes.
using LossesAlong = std::function<EndLosses(std::uint64_t seed, double eps)>;
std::vector<Probe> probe_slopes(const LossesAlong& losses, std::int64_t count, double eps, std::uint64_t seed,
                                const Ranks& ranks = {});

// The part of a direction that moves one tensor, standard normal fp32: a function of the seed, of what the tensor is
// and of its shape.
torch::Tensor direction(std::uint64_t seed, std::int64_t layer, Role role, std::int64_t expert, at::IntArrayRef shape);

// What all probes say, and each half of them: how alike the halves are says how much is noise.
template <class T>
struct Halved {
  T all = {}, first = {}, second = {};
};

// The mean of slope * direction over the probes: the estimate of one tensor's gradient, fp64; zeros of no probes. Each
// direction is drawn once for the three.
Halved<torch::Tensor> estimated_gradient(const std::vector<Probe>& probes, std::int64_t layer, Role role,
                                         std::int64_t expert, at::IntArrayRef shape);

enum class ProbeSpace {
  weights,  // the matrices that units consist of
  gates,    // a factor on what each head and channel gives
};

// The mean loss of the tokens that follow positions 0 … seq-2 of ids, [batch, seq] int64.
double mean_loss(const Model& model, const torch::Tensor& ids);
// The same with all units of the model moved `eps` along a direction and against it. Both go through the layers
// together, so that each direction is drawn once. The model itself is not touched: in memory are the two moved ones of
// one layer.
EndLosses losses_along(const Model& model, const torch::Tensor& ids, ProbeSpace space, std::uint64_t seed, double eps);

// How many values a direction moves: gates, or weights (whose layers are read for it).
std::int64_t probed_values(const Model& model, ProbeSpace space);

// The standard error of the mean of `probes` estimates of one slope, over the root mean square of the `values` slopes:
// sqrt((values + 1) / probes), since that of slope i has the variance (|g|^2 + g_i^2) / probes for normal directions.
double relative_error(std::int64_t values, std::int64_t probes);

// Whether a tensor of a layer is moved in ProbeSpace::weights.
bool is_probed(const LayerConfig& layer, Role role, Part part, std::int64_t expert);

}  // namespace streamline
