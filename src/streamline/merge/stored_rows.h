// SPDX-License-Identifier: Apache-2.0
// A tensor in blocks of rows that fit a core's first cache, visited by all threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "streamline/base/simd.h"
#include "streamline/merge/tensor_merge.h"
#include "streamline/nn/torch.h"

namespace streamline::merge {

struct Block {
  std::int64_t index = 0, first = 0, rows = 0, width = 0;

  std::int64_t start() const { return first * width; }  // the first element's index in the tensor
  std::int64_t elements() const { return rows * width; }
};

struct Grid {
  std::int64_t rows = 0, width = 0, step = 0, blocks = 0;

  std::int64_t elements() const { return rows * width; }
  Block block(std::int64_t index) const {
    const std::int64_t first = index * step;
    return {index, first, std::min(step, rows - first), width};
  }
};
Grid grid_of(const TensorMerge& merge);

// Calls a copy of `visit` a thread with each of its blocks.
template <class Visit>
void for_each_block(const Grid& grid, const Visit& visit) {
  at::parallel_for(0, grid.blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    Visit own = visit;
    for (std::int64_t index = begin; index < end; ++index) own(grid.block(index));
  });
}

// The values of a block, with the adapter's update if there is one.
void read_values(const Stored& stored, const Block& block, std::span<float> to);

// What an operand has beyond the base, whose values of the block are given.
void read_task_vector(const Operand& operand, const Block& block, std::span<const float> base, std::span<float> to);

// Reads an operand's task vector block by block; a thread's own.
struct TaskVectorReader {
  const TensorMerge& merge;
  const Operand& operand;
  std::vector<float> base = {}, values = {};

  std::span<float> read(const Block& block);  // which the next call overwrites
};

// The numbers of a bfloat16 tensor of the result's shape where they stand in a file as they are, else nullptr.
const simd::Bf16* bf16_numbers(const Stored& stored, const TensorHeader& header);

}  // namespace streamline::merge
