// SPDX-License-Identifier: Apache-2.0
// Compiled without contraction of products and sums, each of which is rounded as block_arithmetic.h has it.
#include "streamline/merge/fused_merge.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/simd.h"
#include "streamline/merge/block_arithmetic.h"
#include "streamline/merge/kept_entries.h"

namespace streamline::merge {
namespace {

using Kind = FusedMerge::Kind;
using Terms = FusedMerge::Terms;

// Masks: of what stands under conditions the compiler makes jumps, and no vectors.
SL_INLINE std::uint32_t mask_of(bool condition) { return 0u - static_cast<std::uint32_t>(condition); }
SL_INLINE float masked(float value, std::uint32_t mask) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & mask);
}
SL_INLINE float turned(float value, std::uint32_t sign) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) ^ sign);
}

// What takes part of an operand's entry, weighted.
template <Kind kKind>
SL_INLINE float part_of(float value, std::int32_t least, const std::uint32_t* drawn, float rescale, float weight) {
  if (kKind == Kind::elected_largest) {
    const auto magnitude = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(value) & 0x7fffffffu);
    value = magnitude < least ? 0 : value;
  }
  if (kKind == Kind::random || kKind == Kind::elected_random) value = masked(value, *drawn) * rescale;
  return value * weight;
}

// The sum of those with the sign of the sum of all (zero counts as positive), over their shares.
template <std::size_t kOperands>
SL_INLINE float elect(const float (&parts)[kOperands], float sum, const float (&shares)[kOperands]) {
  // Turned around they are those above zero, which NaN never is.
  const std::uint32_t sign = ~mask_of(sum >= 0) << 31;
  float elected = 0, divisor = 0;
  for (std::size_t operand = 0; operand < kOperands; ++operand) {
    const float part = turned(parts[operand], sign);
    const std::uint32_t taken = mask_of(part > 0);
    elected += masked(part, taken);
    divisor += masked(shares[operand], taken);
  }
  divisor += masked(1, mask_of(divisor == 0));
  return (turned(elected, sign) + 0.0f) / divisor;  // + 0: there is no -0
}

template <Kind kKind, std::size_t kOperands>
SL_INLINE void merge_all(const Terms& terms, std::size_t count, simd::Bf16* __restrict to, unsigned* beyond) {
  constexpr bool kAveraged = kKind == Kind::average || kKind == Kind::moved_average;
  constexpr bool kRandom = kKind == Kind::random || kKind == Kind::elected_random;
  constexpr std::uint32_t kRoundsToInfinity = 0x7f7f8000u;
  const simd::Bf16* values[kOperands];
  const std::uint32_t* drawn[kOperands];
  float weights[kOperands], rescales[kOperands], shares[kOperands];
  std::int32_t least[kOperands];
  for (std::size_t operand = 0; operand < kOperands; ++operand) {
    values[operand] = terms.values[operand];
    weights[operand] = terms.weights[operand];
    rescales[operand] = terms.rescales[operand];
    shares[operand] = terms.shares[operand];
    least[operand] = static_cast<std::int32_t>(terms.least[operand]);
    drawn[operand] = terms.drawn[operand];
  }
  const simd::Bf16* bases = kKind == Kind::average ? terms.values[0] : terms.base;
  const float divisor = terms.divisor, scale = terms.scale, depth = terms.depth;
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float base = simd::load(bases + i);
    float parts[kOperands], sum = 0;
    for (std::size_t operand = 0; operand < kOperands; ++operand) {
      const float value = simd::load(values[operand] + i);
      parts[operand] = kAveraged ? value * weights[operand]
                                 : part_of<kKind>(value - base, least[operand], kRandom ? drawn[operand] + i : nullptr,
                                                  rescales[operand], weights[operand]);
      sum = operand == 0 ? parts[0] : sum + parts[operand];
    }
    if (kKind == Kind::elected_largest || kKind == Kind::elected_random) {
      sum = elect(parts, sum, shares);
    } else {
      sum /= divisor;
    }
    if (!kAveraged) sum = sum * scale * depth + base;
    if (kKind == Kind::moved_average) sum = base + depth * (sum - base);
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(sum), magnitude = bits & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
    to[i] = static_cast<simd::Bf16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);  // as simd::store() rounds numbers
  }
  *beyond = largest >= kRoundsToInfinity ? 1 : 0;
}

template <Kind kKind>
SL_INLINE void merge_kind(const Terms& terms, std::size_t count, simd::Bf16* to, unsigned* beyond) {
  static_assert(FusedMerge::kMost == 4);
  switch (terms.operands) {
    case 1:
      return merge_all<kKind, 1>(terms, count, to, beyond);
    case 2:
      return merge_all<kKind, 2>(terms, count, to, beyond);
    case 3:
      return merge_all<kKind, 3>(terms, count, to, beyond);
    default:
      return merge_all<kKind, 4>(terms, count, to, beyond);
  }
}

SL_INLINE void fused_merge_body(const Terms& terms, std::size_t count, simd::Bf16* to, unsigned* beyond) {
  switch (terms.kind) {
    case Kind::task_vectors:
      return merge_kind<Kind::task_vectors>(terms, count, to, beyond);
    case Kind::elected_largest:
      return merge_kind<Kind::elected_largest>(terms, count, to, beyond);
    case Kind::random:
      return merge_kind<Kind::random>(terms, count, to, beyond);
    case Kind::elected_random:
      return merge_kind<Kind::elected_random>(terms, count, to, beyond);
    case Kind::average:
      return merge_kind<Kind::average>(terms, count, to, beyond);
    case Kind::moved_average:
      return merge_kind<Kind::moved_average>(terms, count, to, beyond);
  }
}
SL_DISPATCH(fused_merge, (const Terms& terms, std::size_t count, simd::Bf16* to, unsigned* beyond),
            (terms, count, to, beyond))

std::optional<Kind> kind_of(const TensorMerge& merge) {
  const Rule& rule = *merge.rule;
  switch (rule.combine) {
    case Combine::average:
      break;
    case Combine::slerp:
      if (merge.operands.size() != 2) return {};
      break;
    case Combine::passthrough:
      return {};
    case Combine::task_vectors:
      if (rule.keep == Keep::random) return rule.elect ? Kind::elected_random : Kind::random;
      if (rule.elect) return Kind::elected_largest;  // a least magnitude of 0 keeps all
      return rule.keep == Keep::all ? std::optional(Kind::task_vectors) : std::nullopt;
  }
  return merge.parameters.depth == 1 ? Kind::average : Kind::moved_average;
}

// As mix_all() and Merger::mix_weights() divide.
float divisor_of(const Parameters& parameters, bool task_vectors) {
  if (!parameters.normalise) return 1;
  if (task_vectors) {
    float total = 0;
    for (const double weight : parameters.weights) total += static_cast<float>(weight);
    return divisor_of_weights(total);
  }
  double total = 0;
  for (const double weight : parameters.weights) total += weight;
  return static_cast<float>(total);
}

}  // namespace

std::optional<FusedMerge> FusedMerge::of(const TensorMerge& merge, const std::vector<Kept>& kept,
                                         std::pair<double, double> slerp_shares) {
  const std::size_t count = merge.operands.size();
  if (merge.rule == nullptr || merge.header.dtype != DType::bf16 || count < 1 || count > kMost) return {};
  const std::optional<Kind> kind = kind_of(merge);
  if (!kind) return {};
  const Parameters& parameters = merge.parameters;
  const bool task_vectors = merge.rule->combine == Combine::task_vectors, slerp = merge.rule->combine == Combine::slerp;
  FusedMerge fused;
  Terms& terms = fused.terms_;
  terms.kind = *kind;
  terms.operands = count;
  terms.divisor = slerp ? 1 : divisor_of(parameters, task_vectors);
  for (std::size_t i = 0; i < count; ++i) {
    terms.values[i] = merge.operands[i].beside_base ? nullptr : bf16_numbers(merge.operands[i].stored, merge.header);
    if (terms.values[i] == nullptr) return {};
    const double share = i == 0 ? slerp_shares.first : slerp_shares.second;
    terms.weights[i] = static_cast<float>(slerp ? share : parameters.weights[i]);
    if (!task_vectors) continue;
    terms.least[i] = kept[i].least;
    terms.rescales[i] = static_cast<float>(kept[i].rescale);
    if (*kind == Kind::elected_largest && terms.rescales[i] != 1) return {};
    terms.shares[i] = parameters.normalise ? terms.weights[i] : 0;
    fused.ties_ends_[i] = kept[i].ties_end;
    fused.draws_[i] = {merge.operands[i].seed, parameters.densities[i]};
  }
  if (*kind != Kind::average) {
    terms.base = bf16_numbers(merge.base, merge.header);
    if (terms.base == nullptr) return {};
    terms.depth = static_cast<float>(parameters.depth);
    if (task_vectors) terms.scale = static_cast<float>(parameters.scale);
  }
  return fused;
}

// A piece holds entries that are treated alike, and no more than its masks do.
std::int64_t FusedMerge::piece_end(std::int64_t first, std::int64_t end) const {
  for (std::size_t i = 0; i < terms_.operands; ++i)
    if (ties_ends_[i] > first) end = std::min(end, ties_ends_[i]);
  return is_random() ? std::min(end, first + kMasks) : end;
}

bool FusedMerge::write_piece(std::int64_t first, std::size_t count, std::span<std::byte> to) const {
  std::array<std::array<std::uint32_t, kMasks>, kMost> masks;
  Terms terms = terms_;
  for (std::size_t i = 0; i < terms.operands; ++i) {
    terms.values[i] += first;
    if (first >= ties_ends_[i]) ++terms.least[i];
    terms.drawn[i] = masks[i].data();
    if (is_random())
      draw_entries(draws_[i].seed, static_cast<std::uint64_t>(first), draws_[i].density, {masks[i].data(), count});
  }
  if (terms.base != nullptr) terms.base += first;
  unsigned beyond = 0;
  fused_merge(terms, count, reinterpret_cast<simd::Bf16*>(to.data()), &beyond);
  return beyond == 0;
}

bool FusedMerge::write(const Block& block, std::span<std::byte> to) const {
  bool finite = true;
  const std::int64_t end = block.start() + block.elements();
  for (std::int64_t first = block.start(), next = first; first < end; first = next) {
    next = piece_end(first, end);
    const auto count = static_cast<std::size_t>(next - first);
    const auto before = static_cast<std::size_t>(first - block.start());
    finite = write_piece(first, count, to.subspan(before * sizeof(simd::Bf16), count * sizeof(simd::Bf16))) && finite;
  }
  return finite;
}

}  // namespace streamline::merge
