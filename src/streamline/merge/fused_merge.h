// SPDX-License-Identifier: Apache-2.0
// Rules on bfloat16 tensors in one pass: a number is read, merged and rounded while it is in a register. The results
// are those of the general way (tensor_merge.cpp) to the bit; a merge is then as fast as memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "streamline/merge/stored_rows.h"
#include "streamline/merge/tensor_passes.h"

namespace streamline::merge {

class FusedMerge {
 public:
  // Nothing where the merge is none of these: one to four stored bfloat16 tensors of the result's shape, without
  // adapters; task vectors of which some entries take part (find_kept()), averages, slerp by its shares
  // (slerp_shares()).
  static std::optional<FusedMerge> of(const TensorMerge& merge, const std::vector<Kept>& kept,
                                      std::pair<double, double> slerp_shares);

  // The merged values of a block as bfloat16. Returns whether all of them are finite.
  bool write(const Block& block, std::span<std::byte> to) const;

  // What becomes of the sum over the operands.
  enum class Kind {
    task_vectors,     // base + depth * (scale * (sum of weight * (operand - base) / divisor))
    elected_largest,  // of the entries that are large enough, those with the sign of their sum
    random,           // entries that are drawn, summed as task vectors
    elected_random,   // of the entries that are drawn, those with the sign of their sum
    average,          // sum of weight * operand / divisor
    moved_average,    // base + depth * (average - base)
  };
  static constexpr std::size_t kMost = 4;  // operands
  struct Terms {
    Kind kind = Kind::average;
    std::size_t operands = 0;
    std::array<const std::uint16_t*, kMost> values = {};
    const std::uint16_t* base = nullptr;
    std::array<float, kMost> weights = {};
    std::array<float, kMost> rescales = {};              // of entries that are drawn
    std::array<float, kMost> shares = {};                // in what is elected is divided by; none: it is not divided
    std::array<std::uint32_t, kMost> least = {};         // bits of the least magnitude that takes part
    std::array<const std::uint32_t*, kMost> drawn = {};  // masks of the entries
    float divisor = 1, scale = 1, depth = 1;
  };

 private:
  static constexpr std::int64_t kMasks = 1024;  // entries whose masks are at hand at a time
  struct Draw {
    std::uint64_t seed = 0;
    double density = 1;
  };

  FusedMerge() = default;
  bool is_random() const { return terms_.kind == Kind::random || terms_.kind == Kind::elected_random; }
  std::int64_t piece_end(std::int64_t first, std::int64_t end) const;
  bool write_piece(std::int64_t first, std::size_t count, std::span<std::byte> to) const;

  Terms terms_;
  std::array<std::int64_t, kMost> ties_ends_ = {};  // see Kept
  std::array<Draw, kMost> draws_ = {};
};

}  // namespace streamline::merge
