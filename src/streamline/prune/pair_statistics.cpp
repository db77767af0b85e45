// SPDX-License-Identifier: Apache-2.0
// Cosines, angles and distances follow from dot products: |b - a|^2 = |a|^2 + |b|^2 - 2 <a, b>, unless that cancels.
#include "streamline/prune/pair_statistics.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "streamline/base/error.h"
#include "streamline/base/simd.h"
#include "streamline/nn/host_values.h"
#include "streamline/prune/angles.h"
#include "streamline/prune/pair_kernel.h"

namespace streamline {
namespace {

// Sums are kept a block of tokens and added in order, so that the result does not depend on the number of threads.
constexpr std::int64_t kBlockTokens = 32;
// Below this share of |a|^2 + |b|^2 the difference of fp32 products keeps fewer than five digits.
constexpr double kCancels = 1.0 / 64;

struct BlockSums {
  std::vector<double> cosine, relative_l2, angular;  // [S, S], i < j, and the diagonal of cosine
};

// 1 - the cosine of two vectors of norms a and b whose distance squared is known exactly.
double versed_of_close(double squared, double a, double b) {
  return std::clamp((squared - (a - b) * (a - b)) / (2 * a * b), 0.0, 2.0);
}

class SequenceScorer {
 public:
  explicit SequenceScorer(std::span<const torch::Tensor> states) : states_(static_cast<std::int64_t>(states.size())) {
    for (const torch::Tensor& state : states) {
      const bool kept = state.scalar_type() == torch::kBFloat16 || state.scalar_type() == torch::kFloat32;
      kept_alive_.push_back((kept ? state : state.to(torch::kFloat32)).contiguous());
      SL_ASSERT(kept_alive_.back().scalar_type() == kept_alive_.front().scalar_type());
    }
    const torch::Tensor& first = kept_alive_.front();
    tokens_ = first.size(0);
    width_ = first.size(1);
    type_ = first.scalar_type() == torch::kBFloat16 ? StateType::bf16 : StateType::f32;
    row_bytes_ = width_ * first.element_size();
    for (const torch::Tensor& state : kept_alive_) bases_.push_back(static_cast<const std::byte*>(state.data_ptr()));
  }

  PairStatistics run() {
    const auto square = static_cast<std::size_t>(states_ * states_);
    PairStatistics result{.states = states_, .tokens = tokens_};
    result.norms.resize(static_cast<std::size_t>(states_ * tokens_));
    const std::int64_t blocks = (tokens_ + kBlockTokens - 1) / kBlockTokens;
    std::vector<BlockSums> sums(static_cast<std::size_t>(blocks));
    at::parallel_for(0, blocks, 1, [&](std::int64_t first, std::int64_t last) {
      PairKernel kernel(states_, width_);
      std::vector<float> versed(square);
      for (std::int64_t block = first; block < last; ++block) {
        BlockSums& sum = sums[static_cast<std::size_t>(block)];
        sum.cosine.assign(square, 0.0);
        sum.relative_l2.assign(square, 0.0);
        sum.angular.assign(square, 0.0);
        const std::int64_t end = std::min(tokens_, (block + 1) * kBlockTokens);
        for (std::int64_t token = block * kBlockTokens; token < end; ++token) {
          add(kernel, token, sum, result.norms, versed);
          add_angular_distances(versed.data(), sum.angular.data(), static_cast<std::int64_t>(square));
        }
      }
    });
    result.cosine.assign(square, 0.0);
    result.relative_l2.assign(square, 0.0);
    result.angular.assign(square, 0.0);
    for (const BlockSums& sum : sums) {
      for (std::size_t k = 0; k < square; ++k) result.cosine[k] += sum.cosine[k];
      for (std::size_t k = 0; k < square; ++k) result.relative_l2[k] += sum.relative_l2[k];
      for (std::size_t k = 0; k < square; ++k) result.angular[k] += sum.angular[k];
    }
    finish(result);
    result.angular_last = last_token_angles();
    return result;
  }

 private:
  // versed: 1 - cosine of each pair i < j of this token, [S, S]; the rest stays 0.
  void add(PairKernel& kernel, std::int64_t token, BlockSums& sum, std::vector<double>& norms,
           std::vector<float>& versed) const {
    std::vector<const void*> rows;
    rows.reserve(bases_.size());
    for (const std::byte* base : bases_) rows.push_back(base + token * row_bytes_);
    const TokenStates states{.rows = rows, .type = type_, .width = width_};
    kernel.multiply(states);
    for (std::int64_t i = 0; i < states_; ++i)
      norms[static_cast<std::size_t>(i * tokens_ + token)] = std::sqrt(kernel.product(i, i));
    for (std::int64_t i = 0; i < states_; ++i) {
      const double a = kernel.product(i, i), norm_a = norms[static_cast<std::size_t>(i * tokens_ + token)];
      const auto row = static_cast<std::size_t>(i * states_);
      if (a != 0) sum.cosine[row + static_cast<std::size_t>(i)] += 1;
      for (std::int64_t j = i + 1; j < states_; ++j) {
        const std::size_t at = row + static_cast<std::size_t>(j);
        versed[at] = 1;
        if (a == 0) continue;  // every cosine with a zero vector counts as 0
        const double b = kernel.product(j, j), ab = kernel.product(i, j);
        double squared = a + b - 2 * ab;
        const bool close = squared < kCancels * (a + b);
        if (close) squared = squared_distance(states, i, j);
        sum.relative_l2[at] += std::sqrt(squared / a);
        if (b == 0) continue;
        const double norm_b = norms[static_cast<std::size_t>(j * tokens_ + token)];
        const double cosine = std::clamp(ab / std::sqrt(a * b), -1.0, 1.0);
        sum.cosine[at] += cosine;
        versed[at] = static_cast<float>(close ? versed_of_close(squared, norm_a, norm_b) : 1 - cosine);
      }
    }
  }

  double element(std::int64_t state, std::int64_t token, std::int64_t k) const {
    const std::byte* row = bases_[static_cast<std::size_t>(state)] + token * row_bytes_;
    if (type_ == StateType::f32) return static_cast<double>(reinterpret_cast<const float*>(row)[k]);
    return static_cast<double>(simd::load(reinterpret_cast<const simd::Bf16*>(row) + k));
  }

  std::vector<double> last_token_angles() const {
    std::vector<std::vector<double>> vectors(static_cast<std::size_t>(tokens_ > 0 ? states_ : 0));
    for (std::size_t i = 0; i < vectors.size(); ++i)
      for (std::int64_t k = 0; k < width_; ++k)
        vectors[i].push_back(element(static_cast<std::int64_t>(i), tokens_ - 1, k));
    return angular_distances(std::move(vectors));
  }

  void finish(PairStatistics& result) const {
    const double tokens = static_cast<double>(tokens_);
    for (double& value : result.relative_l2) value /= tokens;
    for (std::int64_t i = 0; i < states_; ++i) {
      for (std::int64_t j = i; j < states_; ++j) {
        double& upper = result.cosine[static_cast<std::size_t>(i * states_ + j)];
        upper /= tokens;
        result.cosine[static_cast<std::size_t>(j * states_ + i)] = upper;
        double& angle = result.angular[static_cast<std::size_t>(i * states_ + j)];
        angle /= tokens;
        result.angular[static_cast<std::size_t>(j * states_ + i)] = angle;
      }
    }
  }

  std::int64_t states_, tokens_ = 0, width_ = 0, row_bytes_ = 0;
  StateType type_ = StateType::f32;
  std::vector<torch::Tensor> kept_alive_;  // contiguous fp32 or bf16
  std::vector<const std::byte*> bases_;
};

}  // namespace

PairStatistics pair_statistics(std::span<const torch::Tensor> states) {
  const torch::NoGradGuard no_gradients;
  SL_ASSERT(!states.empty() && states.front().dim() == 2);
  const bool on_cpu = states.front().is_cpu() && states.front().scalar_type() != torch::kFloat64;
  return on_cpu ? SequenceScorer(states).run() : pair_statistics_by_tensors(states);
}

PairStatistics pair_statistics_by_tensors(std::span<const torch::Tensor> states) {
  const torch::NoGradGuard no_gradients;
  constexpr std::int64_t kTokensAtOnce = 64;  // bounds the float64 copies
  const auto count = static_cast<std::int64_t>(states.size());
  const std::int64_t tokens = states.front().size(0);
  const auto options = torch::dtype(torch::kFloat64).device(states.front().device());
  torch::Tensor cosine = torch::zeros({count, count}, options), distance = torch::zeros({count, count}, options),
                angular = torch::zeros({count, count}, options);
  std::vector<torch::Tensor> norms;
  for (std::int64_t first = 0; first < tokens; first += kTokensAtOnce) {
    const std::int64_t last = std::min(tokens, first + kTokensAtOnce);
    std::vector<torch::Tensor> slices;
    for (const torch::Tensor& state : states) slices.push_back(state.slice(0, first, last).to(torch::kFloat64));
    const torch::Tensor x = torch::stack(slices, 1);  // [tokens, S, hidden]
    const torch::Tensor norm = x.norm(2, -1);         // [tokens, S]
    const torch::Tensor unit = x / norm.unsqueeze(-1).masked_fill(norm.unsqueeze(-1) == 0, 1.0);
    cosine += torch::bmm(unit, unit.transpose(1, 2)).sum(0);
    for (std::int64_t i = 0; i + 1 < count; ++i) {
      const torch::Tensor difference = (x.slice(1, i + 1) - x.slice(1, i, i + 1)).norm(2, -1);  // [tokens, S - 1 - i]
      const torch::Tensor base = norm.slice(1, i, i + 1);
      distance[i].slice(0, i + 1) += (difference / base).masked_fill(base == 0, 0.0).sum(0);
      const torch::Tensor u = unit.slice(1, i, i + 1), v = unit.slice(1, i + 1);
      const torch::Tensor angle = 2 * torch::atan2((u - v).norm(2, -1), (u + v).norm(2, -1)) / std::numbers::pi;
      const torch::Tensor defined = angle.masked_fill((base == 0).logical_or(norm.slice(1, i + 1) == 0), 0.5);
      angular[i].slice(0, i + 1) += defined.sum(0);
    }
    norms.push_back(norm.transpose(0, 1));
  }
  std::vector<std::vector<double>> last_token;
  for (const torch::Tensor& state : states) last_token.push_back(to_doubles(state[tokens - 1]));
  return {.states = count,
          .tokens = tokens,
          .cosine = to_doubles(cosine / tokens),
          .relative_l2 = to_doubles(distance / tokens),
          .norms = to_doubles(torch::cat(norms, 1)),
          .angular = to_doubles((angular + angular.transpose(0, 1)) / tokens),
          .angular_last = angular_distances(std::move(last_token))};
}

}  // namespace streamline
