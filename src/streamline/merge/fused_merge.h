// SPDX-License-Identifier: Apache-2.0
// The plain rules on bfloat16 tensors in one pass: a number is read, merged and rounded while it is in a register. The
// results are those of the general way (tensor_merge.cpp) to the bit; a merge is then as fast as memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "streamline/merge/stored_rows.h"

namespace streamline::merge {

class FusedMerge {
 public:
  // Nothing where the merge is none of these: one to four stored bfloat16 tensors of the result's shape, without
  // adapters; task vectors of which all entries take part, averages, slerp by its shares (slerp_shares()).
  static std::optional<FusedMerge> of(const TensorMerge& merge, std::pair<double, double> slerp_shares);

  // The merged values of a block as bfloat16. Returns whether all of them are finite.
  bool write(const Block& block, std::span<std::byte> to) const;

  // What becomes of the sum over the operands.
  enum class Kind {
    task_vectors,   // base + depth * (scale * (sum of weight * (operand - base) / divisor))
    average,        // sum of weight * operand / divisor
    moved_average,  // base + depth * (average - base)
  };
  static constexpr std::size_t kMost = 4;  // operands
  struct Terms {
    Kind kind = Kind::average;
    std::size_t operands = 0;
    std::array<const std::uint16_t*, kMost> values = {};
    const std::uint16_t* base = nullptr;
    std::array<float, kMost> weights = {};
    float divisor = 1, scale = 1, depth = 1;
  };

 private:
  explicit FusedMerge(const Terms& terms) : terms_(terms) {}

  Terms terms_;
};

}  // namespace streamline::merge
