// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/closed_form.h"

#include <array>
#include <limits>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/heal/pace.h"
#include "streamline/nn/mlp.h"

namespace streamline {
namespace {

constexpr std::array kRidges = {1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0};

void check_solvable(const Replacement& replacement, const LayerConfig& layer) {
  const char* why = nullptr;
  if (!layer.mlp) why = "it has no MLP";
  if (layer.mlp && layer.mlp->post_norm) why = "a norm stands between the MLP and its sum";
  if (layer.residual == Residual::norm_after_sum) why = "a norm follows the sum with the residual stream";
  if (layer.mlp && layer.mlp->experts && replacement.closed_form == ClosedForm::output_matrix)
    why = "its MLP is sparse";
  if (why != nullptr)
    fail(ErrorKind::unsupported, "'", replacement.name, "' has no closed form here: ", why,
         "; choose another --init or --replace");
}

// One problem: what the unknown matrix reads, and what it should give.
struct Problem {
  torch::Tensor features, wanted;  // [tokens, …]
};

// The map x -> x w + b of a rank that fits, in the places of a low-rank replacement.
void put_low_rank(const torch::Tensor& solution, LayerWeights& weights) {
  const std::int64_t inputs = solution.size(0) - 1;
  RoleTensors &up = weights.tensors.at(Role::up), &down = weights.tensors.at(Role::down);
  const std::int64_t rank = up.weight.size(0);
  const auto [u, s, v] = at::linalg_svd(solution.narrow(0, 0, inputs), /*full_matrices=*/false);  // w = u s v
  const auto root = s.narrow(0, 0, rank).sqrt();
  up.weight.copy_((u.narrow(1, 0, rank) * root).t());
  up.bias.zero_();
  down.weight.copy_((v.narrow(0, 0, rank) * root.unsqueeze(1)).t() / kConstantGate);
  down.bias.copy_(solution[inputs]);
}

class Fit {
 public:
  Fit(const Replacement& replacement, const Model& body, const LayerWeights& start)
      : kind_(replacement.closed_form),
        body_(body),
        start_(start),
        compute_(copy_to(start, body.placement().device, body.placement().dtype)),
        bias_(start.has(Role::down) && start.at(Role::down).bias.defined()) {}

  LeastSquares gather(const StateSource& states, const TokenBatches& batches, std::int64_t micro_batch_tokens,
                      const char* label) const {
    const torch::NoGradGuard no_grad;
    std::optional<Progress> progress;
    if (label != nullptr) progress.emplace(label, batches.tokens(), "tokens");
    LeastSquares sums;
    for (const Indices& group : micro_batches(batches, all_sequences(batches), micro_batch_tokens)) {
      check_interrupted();
      const WindowStates around = states(batches, group);
      const Problem problem = problem_of(around);
      sums.add(problem.features, problem.wanted, kind_ == ClosedForm::scale);
      if (progress) progress->advance(token_count(batches, group));
    }
    return sums;
  }

  // What the wanted values were divided by.
  double scale() const {
    const bool patch = kind_ == ClosedForm::map || kind_ == ClosedForm::scale;
    return !patch && start_.config.mlp->residual ? body_.config().scale.residual : 1;
  }

  std::optional<torch::Tensor> solve(const LeastSquares& sums, double ridge) const {
    std::optional<torch::Tensor> solution = solve_ridge(sums, ridge);
    if (solution && kind_ == ClosedForm::low_rank)
      solution = reduced_rank(sums, *solution, start_.config.mlp->intermediate);
    return solution;
  }

  // The start's own solution, as an error to improve on; where the sums are.
  torch::Tensor own() const {
    if (kind_ != ClosedForm::output_matrix) return {};
    const RoleTensors& down = start_.at(Role::down);
    auto matrix = down.weight.t().to(torch::kFloat64);
    if (bias_) matrix = torch::cat({matrix, down.bias.to(torch::kFloat64).unsqueeze(0)});
    return matrix.to(body_.placement().device);
  }

  LayerWeights with(const torch::Tensor& found) const {
    const auto solution = found.to(torch::kCPU);
    LayerWeights weights = copy_to(start_, torch::kCPU, torch::kFloat32);
    if (kind_ == ClosedForm::constant) {
      weights.tensors.at(Role::down).bias.copy_(solution[0]);
      return weights;
    }
    if (kind_ == ClosedForm::low_rank) {
      put_low_rank(solution, weights);
      return weights;
    }
    for (const PlacedTensor& tensor : placed_tensors(weights)) {
      const bool stack = tensor.role == Role::stacked_down;  // [experts, in, out]
      if (tensor.role != Role::down && tensor.role != Role::shared_down && !stack) continue;
      torch::Tensor value = stack ? tensor.value.transpose(1, 2) : tensor.value;
      const auto exact = value.to(torch::kFloat64);
      const bool matrix = tensor.part == Part::weight;
      if (kind_ == ClosedForm::output_matrix) {
        const std::int64_t width = solution.size(0) - (bias_ ? 1 : 0);
        value.copy_(matrix ? solution.narrow(0, 0, width).t() : solution[width]);
      } else if (kind_ == ClosedForm::map) {
        value.copy_(exact + (matrix ? solution.t().matmul(exact) : exact.matmul(solution)));
      } else {
        value.copy_(exact * (1 + (matrix ? solution.unsqueeze(1) : solution)));
      }
    }
    return weights;
  }

 private:
  bool is_linear_of_stream() const { return kind_ == ClosedForm::constant || kind_ == ClosedForm::low_rank; }

  Problem problem_of(const WindowStates& states) const {
    const auto rows = [](const torch::Tensor& x) { return x.reshape({-1, x.size(-1)}).to(torch::kFloat64); };
    if (is_linear_of_stream()) {
      // Without the first position, whose massive activations would decide a mean.
      const auto x = rows(states.input.slice(1, 1)), update = rows(states.output.slice(1, 1)) - x;
      const auto ones = torch::ones({x.size(0), 1}, x.options());
      return {kind_ == ClosedForm::constant ? ones : torch::cat({x, ones}, 1), update / scale()};
    }
    const Positions positions = rope_positions(body_.config(), 0, states.input.size(1), states.input.device());
    const MlpParts parts = mlp_parts(body_.config(), compute_, states.input, positions);
    auto wanted = rows(states.output);
    if (start_.config.mlp->residual) wanted = wanted - rows(parts.stream);  // of float64 states `rows` is no copy
    if (kind_ != ClosedForm::output_matrix) {
      const auto given = rows(mlp_half(body_.config(), compute_, parts.input));
      return {given, wanted - given};
    }
    auto features = rows(mlp_inner(*start_.config.mlp, compute_.tensors, parts.normed));
    if (bias_) features = torch::cat({features, torch::ones({features.size(0), 1}, features.options())}, 1);
    return {features, wanted / scale()};
  }

  ClosedForm kind_;
  const Model& body_;
  const LayerWeights& start_;
  LayerWeights compute_;
  bool bias_;
};

}  // namespace

void LeastSquares::add(const torch::Tensor& features, const torch::Tensor& wanted, bool diagonal) {
  const auto phi = features.to(torch::kFloat64), r = wanted.to(torch::kFloat64);
  const auto products = diagonal ? phi.square().sum(0) : phi.t().matmul(phi);
  const auto crossed = diagonal ? (phi * r).sum(0) : phi.t().matmul(r);
  gram = gram.defined() ? gram.add_(products) : products;
  cross = cross.defined() ? cross.add_(crossed) : crossed;
  energy += r.square().sum().item<double>();
  rows += phi.size(0);
}

double LeastSquares::error(const torch::Tensor& solution) const {
  if (!solution.defined()) return energy;
  const auto curved = gram.dim() == 1 ? gram * solution : gram.matmul(solution);
  return energy + (solution * (curved - 2 * cross)).sum().item<double>();
}

std::optional<torch::Tensor> solve_ridge(const LeastSquares& sums, double ridge) {
  if (sums.gram.dim() == 1) {
    const double weight = ridge * sums.gram.mean().item<double>();
    return sums.cross / (sums.gram + weight).clamp_min(std::numeric_limits<double>::min());
  }
  const double weight = ridge * sums.gram.diagonal().mean().item<double>();
  auto damped = sums.gram.clone();
  damped.diagonal().add_(weight);
  const auto [factor, info] = at::linalg_cholesky_ex(damped);
  if (info.item<int>() != 0) return std::nullopt;
  return at::cholesky_solve(sums.cross, factor);
}

torch::Tensor reduced_rank(const LeastSquares& sums, const torch::Tensor& solution, std::int64_t rank) {
  const std::int64_t inputs = solution.size(0) - 1;
  const double rows = static_cast<double>(sums.rows);
  const auto mean = sums.gram[inputs].narrow(0, 0, inputs) / rows, wanted = sums.cross[inputs] / rows;
  const auto covariance = sums.gram.narrow(0, 0, inputs).narrow(1, 0, inputs) / rows - mean.outer(mean);
  const auto w = solution.narrow(0, 0, inputs);  // [inputs, outputs]
  const auto predicted = w.t().matmul(covariance).matmul(w);
  const auto vectors = std::get<1>(at::linalg_eigh((predicted + predicted.t()) / 2));  // by rising eigenvalue
  const auto top = vectors.narrow(1, vectors.size(1) - rank, rank);
  const auto reduced = w.matmul(top).matmul(top.t());
  return torch::cat({reduced, (wanted - mean.matmul(reduced)).unsqueeze(0)});
}

BestRidge best_ridge(const LeastSquares& held_out, double elements, double least, std::span<const double> ridges,
                     const std::function<std::optional<torch::Tensor>(double ridge)>& solve) {
  BestRidge best{.error = least};
  for (const double ridge : ridges) {
    const auto solution = solve(ridge);
    if (!solution) continue;
    const double error = held_out.error(*solution) / elements;
    if (error < best.error) best = {.solution = *solution, .ridge = ridge, .error = error};
  }
  return best;
}

ClosedFormFit fit_closed_form(const Replacement& replacement, const Model& body, const LayerWeights& start,
                              const StateSource& states, const TokenBatches& training, const TokenBatches& validation,
                              std::int64_t micro_batch_tokens) {
  check_solvable(replacement, start.config);
  const torch::NoGradGuard no_grad;
  const Fit fit(replacement, body, start);
  const LeastSquares sums = fit.gather(states, training, micro_batch_tokens, "least squares");
  const LeastSquares held_out = fit.gather(states, validation, micro_batch_tokens, nullptr);
  const double scale = fit.scale();
  const double elements = static_cast<double>(held_out.rows * body.config().hidden) / (scale * scale);
  const double start_error = held_out.error(fit.own()) / elements;
  const BestRidge best =
      best_ridge(held_out, elements, start_error, kRidges, [&](double ridge) { return fit.solve(sums, ridge); });
  return {.weights = best.solution.defined() ? fit.with(best.solution) : copy_to(start, torch::kCPU, torch::kFloat32),
          .ridge = best.ridge,
          .error = best.error,
          .start_error = start_error};
}

}  // namespace streamline
