// SPDX-License-Identifier: Apache-2.0
// One pass over both states of a token gives the products, lengths and differences that all of the figures need.
#include "streamline/prune/update_pairs.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "streamline/base/error.h"
#include "streamline/base/simd.h"

namespace streamline {
namespace {

// Sums are kept a block of tokens and added in order, so that the result does not depend on the number of threads.
constexpr std::int64_t kBlockTokens = 32;
constexpr int kLanes = 16;

// Sums over the components of one token.
struct TokenSums {
  double product = 0, in_squares = 0, out_squares = 0, squares = 0;  // the last of the differences
  double in_length = 0, out_length = 0, length = 0;                  // the same of absolute values
};

template <class Element>
SL_INLINE void add_components(const Element* in, const Element* out, std::int64_t count, TokenSums& sums) {
  float product[kLanes] = {}, in_squares[kLanes] = {}, out_squares[kLanes] = {}, squares[kLanes] = {};
  float in_length[kLanes] = {}, out_length[kLanes] = {}, length[kLanes] = {};
  const auto add = [&](int lane, float a, float b) {
    const float difference = b - a;
    product[lane] += a * b;
    in_squares[lane] += a * a;
    out_squares[lane] += b * b;
    squares[lane] += difference * difference;
    in_length[lane] += __builtin_fabsf(a);
    out_length[lane] += __builtin_fabsf(b);
    length[lane] += __builtin_fabsf(difference);
  };
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) add(lane, simd::load(in + k + lane), simd::load(out + k + lane));
  for (; k < count; ++k) add(static_cast<int>(k % kLanes), simd::load(in + k), simd::load(out + k));
  const auto total = [](const float* lanes) {
    double sum = 0;
    for (int lane = 0; lane < kLanes; ++lane) sum += static_cast<double>(lanes[lane]);
    return sum;
  };
  sums = {total(product),   total(in_squares), total(out_squares), total(squares),
          total(in_length), total(out_length), total(length)};
}

SL_INLINE void sums_f32_body(const float* in, const float* out, std::int64_t count, TokenSums& sums) {
  add_components(in, out, count, sums);
}
SL_DISPATCH(sums_f32, (const float* in, const float* out, std::int64_t count, TokenSums& sums), (in, out, count, sums))
SL_INLINE void sums_bf16_body(const simd::Bf16* in, const simd::Bf16* out, std::int64_t count, TokenSums& sums) {
  add_components(in, out, count, sums);
}
SL_DISPATCH(sums_bf16, (const simd::Bf16* in, const simd::Bf16* out, std::int64_t count, TokenSums& sums),
            (in, out, count, sums))

double ratio(double value, double divisor) { return divisor == 0 ? 0 : value / divisor; }

// From the chord between the two directions, which keeps its digits where they nearly coincide.
double angle_of(double squares, double in, double out) {
  if (in == 0 || out == 0) return 0;
  const double chord = std::max(0.0, squares - (out - in) * (out - in)) / (in * out);
  return 2 * std::asin(std::min(1.0, std::sqrt(chord) / 2)) / std::numbers::pi;
}

UpdateStatistics of_token(const TokenSums& sums) {
  const double in = std::sqrt(sums.in_squares), out = std::sqrt(sums.out_squares), change = std::sqrt(sums.squares);
  // Equal states give exactly 1, whatever a square root rounds to.
  const double cosine = sums.squares == 0 && in != 0 ? 1 : std::clamp(ratio(sums.product, in * out), -1.0, 1.0);
  return {.cosine = cosine,
          .l1 = sums.length,
          .l2 = change,
          .relative_l1_in = ratio(sums.length, sums.in_length),
          .relative_l1_out = ratio(sums.length, sums.out_length),
          .relative_l2_in = ratio(change, in),
          .relative_l2_out = ratio(change, out),
          .angle = angle_of(sums.squares, in, out)};
}

TokenSums token_sums(const torch::Tensor& in, const torch::Tensor& out, std::int64_t token) {
  const std::int64_t width = in.size(1);
  TokenSums sums;
  if (in.scalar_type() == torch::kFloat32) {
    sums_f32(in.data_ptr<float>() + token * width, out.data_ptr<float>() + token * width, width, sums);
  } else {
    sums_bf16(static_cast<const simd::Bf16*>(in.data_ptr()) + token * width,
              static_cast<const simd::Bf16*>(out.data_ptr()) + token * width, width, sums);
  }
  return sums;
}

}  // namespace

UpdateStatistics& UpdateStatistics::operator+=(const UpdateStatistics& other) {
  for (const auto& [name, value] : kUpdateFields) this->*value += other.*value;
  return *this;
}

UpdateStatistics& UpdateStatistics::operator*=(double factor) {
  for (const auto& [name, value] : kUpdateFields) this->*value *= factor;
  return *this;
}

UpdateStatistics& UpdateStatistics::operator/=(double divisor) {
  for (const auto& [name, value] : kUpdateFields) this->*value /= divisor;
  return *this;
}

std::vector<UpdateStatistics> update_statistics(std::span<const StatePair> pairs) {
  const torch::NoGradGuard no_gradients;
  std::vector<UpdateStatistics> means(pairs.size());
  std::vector<StatePair> kept(pairs.size());                 // contiguous; empty where tensor expressions do it
  std::vector<std::pair<std::size_t, std::int64_t>> blocks;  // pair, first token
  for (std::size_t p = 0; p < pairs.size(); ++p) {
    const auto& [in, out] = pairs[p];
    SL_ASSERT(in.dim() == 2 && in.sizes() == out.sizes() && in.scalar_type() == out.scalar_type());
    if (!in.is_cpu() || (in.scalar_type() != torch::kFloat32 && in.scalar_type() != torch::kBFloat16)) {
      means[p] = update_statistics_by_tensors(in, out);
      continue;
    }
    kept[p] = {in.contiguous(), out.contiguous()};
    for (std::int64_t token = 0; token < in.size(0); token += kBlockTokens) blocks.emplace_back(p, token);
  }
  std::vector<UpdateStatistics> sums(blocks.size());
  at::parallel_for(0, std::ssize(blocks), 1, [&](std::int64_t first, std::int64_t last) {
    for (auto block = static_cast<std::size_t>(first); block < static_cast<std::size_t>(last); ++block) {
      const auto& [in, out] = kept[blocks[block].first];
      const std::int64_t begin = blocks[block].second, end = std::min(in.size(0), begin + kBlockTokens);
      for (std::int64_t token = begin; token < end; ++token) sums[block] += of_token(token_sums(in, out, token));
    }
  });
  for (std::size_t block = 0; block < blocks.size(); ++block) means[blocks[block].first] += sums[block];
  for (std::size_t p = 0; p < pairs.size(); ++p)
    if (kept[p].in.defined()) means[p] /= static_cast<double>(kept[p].in.size(0));
  return means;
}

UpdateStatistics update_statistics(const torch::Tensor& in, const torch::Tensor& out) {
  const StatePair pair{in, out};
  return update_statistics(std::span(&pair, 1)).front();
}

UpdateStatistics update_statistics_by_tensors(const torch::Tensor& in, const torch::Tensor& out) {
  const torch::NoGradGuard no_gradients;
  const torch::Tensor x = in.to(torch::kFloat64), y = out.to(torch::kFloat64);
  const auto mean_ratio = [](const torch::Tensor& value, const torch::Tensor& divisor) {
    return (value / divisor).masked_fill(divisor == 0, 0.0).mean().item<double>();
  };
  const torch::Tensor l1 = (y - x).norm(1, -1), l2 = (y - x).norm(2, -1);
  const torch::Tensor in_norm = x.norm(2, -1), out_norm = y.norm(2, -1);
  const torch::Tensor squares = (l2.square() - (out_norm - in_norm).square()).clamp_min(0);
  const torch::Tensor chord = (squares / (in_norm * out_norm)).masked_fill(in_norm * out_norm == 0, 0.0);
  return {.cosine = mean_ratio((x * y).sum(-1), in_norm * out_norm),
          .l1 = l1.mean().item<double>(),
          .l2 = l2.mean().item<double>(),
          .relative_l1_in = mean_ratio(l1, x.norm(1, -1)),
          .relative_l1_out = mean_ratio(l1, y.norm(1, -1)),
          .relative_l2_in = mean_ratio(l2, in_norm),
          .relative_l2_out = mean_ratio(l2, out_norm),
          .angle = (chord.sqrt() / 2).clamp_max(1).asin().mean().item<double>() * 2 / std::numbers::pi};
}

}  // namespace streamline
