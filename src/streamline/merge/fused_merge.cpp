// SPDX-License-Identifier: Apache-2.0
// Compiled without contraction of products and sums, each of which is rounded as block_arithmetic.h has it.
#include "streamline/merge/fused_merge.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/simd.h"
#include "streamline/merge/block_arithmetic.h"

namespace streamline::merge {
namespace {

using Kind = FusedMerge::Kind;
using Terms = FusedMerge::Terms;

template <Kind kKind, std::size_t kOperands>
SL_INLINE void merge_all(const Terms& terms, std::size_t count, simd::Bf16* __restrict to, unsigned* beyond) {
  constexpr bool kRelative = kKind == Kind::task_vectors;
  constexpr std::uint16_t kExponent = 0x7f80;
  const simd::Bf16* values[kOperands];
  float weights[kOperands];
  for (std::size_t operand = 0; operand < kOperands; ++operand) {
    values[operand] = terms.values[operand];
    weights[operand] = terms.weights[operand];
  }
  const simd::Bf16* bases = kKind == Kind::average ? terms.values[0] : terms.base;
  const float divisor = terms.divisor, scale = terms.scale, depth = terms.depth;
  std::uint16_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float base = simd::load(bases + i);
    float sum = 0;
    for (std::size_t operand = 0; operand < kOperands; ++operand) {
      const float value = simd::load(values[operand] + i);
      const float part = (kRelative ? value - base : value) * weights[operand];
      sum = operand == 0 ? part : sum + part;
    }
    sum /= divisor;
    if (kKind == Kind::task_vectors) sum = sum * scale * depth + base;
    if (kKind == Kind::moved_average) sum = base + depth * (sum - base);
    simd::store(to + i, sum);
    found = static_cast<std::uint16_t>(found | ((to[i] & kExponent) == kExponent ? 1 : 0));
  }
  *beyond = found;
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
    case Kind::average:
      return merge_kind<Kind::average>(terms, count, to, beyond);
    case Kind::moved_average:
      return merge_kind<Kind::moved_average>(terms, count, to, beyond);
  }
}
SL_DISPATCH(fused_merge, (const Terms& terms, std::size_t count, simd::Bf16* to, unsigned* beyond),
            (terms, count, to, beyond))

// nullptr where the numbers do not stand in a file as the pass reads them.
const simd::Bf16* numbers_of(const Stored& stored, const TensorHeader& header) {
  if (stored.tensor == nullptr || stored.update || !stored.tensor->is_plain() || stored.tensor->dtype != DType::bf16 ||
      stored.tensor->shape != header.shape)
    return nullptr;
  const std::byte* bytes = stored.checkpoint->bytes(*stored.tensor).data();
  return reinterpret_cast<std::uintptr_t>(bytes) % sizeof(simd::Bf16) == 0 ? reinterpret_cast<const simd::Bf16*>(bytes)
                                                                           : nullptr;
}

bool takes_all(const TensorMerge& merge) {
  const Rule& rule = *merge.rule;
  if (rule.combine == Combine::average) return true;
  if (rule.combine == Combine::slerp) return merge.operands.size() == 2;
  if (rule.combine != Combine::task_vectors || rule.elect) return false;
  return rule.keep == Keep::all ||
         std::ranges::all_of(merge.parameters.densities, [](double density) { return density >= 1; });
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

std::optional<FusedMerge> FusedMerge::of(const TensorMerge& merge, std::pair<double, double> slerp_shares) {
  const std::size_t count = merge.operands.size();
  if (merge.rule == nullptr || merge.header.dtype != DType::bf16 || count < 1 || count > kMost || !takes_all(merge))
    return {};
  const Parameters& parameters = merge.parameters;
  const bool task_vectors = merge.rule->combine == Combine::task_vectors, slerp = merge.rule->combine == Combine::slerp;
  Terms terms{.operands = count, .divisor = slerp ? 1 : divisor_of(parameters, task_vectors)};
  for (std::size_t i = 0; i < count; ++i) {
    terms.values[i] = merge.operands[i].beside_base ? nullptr : numbers_of(merge.operands[i].stored, merge.header);
    if (terms.values[i] == nullptr) return {};
    const double share = i == 0 ? slerp_shares.first : slerp_shares.second;
    terms.weights[i] = static_cast<float>(slerp ? share : parameters.weights[i]);
  }
  if (task_vectors || parameters.depth != 1) {
    terms.kind = task_vectors ? Kind::task_vectors : Kind::moved_average;
    terms.base = numbers_of(merge.base, merge.header);
    if (terms.base == nullptr) return {};
    terms.depth = static_cast<float>(parameters.depth);
    if (task_vectors) terms.scale = static_cast<float>(parameters.scale);
  }
  return FusedMerge(terms);
}

bool FusedMerge::write(const Block& block, std::span<std::byte> to) const {
  Terms terms = terms_;
  for (std::size_t i = 0; i < terms.operands; ++i) terms.values[i] += block.start();
  if (terms.base != nullptr) terms.base += block.start();
  unsigned beyond = 0;
  fused_merge(terms, static_cast<std::size_t>(block.elements()), reinterpret_cast<simd::Bf16*>(to.data()), &beyond);
  return beyond == 0;
}

}  // namespace streamline::merge
