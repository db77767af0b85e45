// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/tensor_passes.h"

#include <cmath>
#include <mutex>

#include "streamline/base/error.h"
#include "streamline/merge/block_arithmetic.h"
#include "streamline/merge/kept_entries.h"

namespace streamline::merge {
namespace {

// Reads an operand's task vector block by block; a thread's own.
struct TaskVectorReader {
  const TensorMerge& merge;
  const Operand& operand;
  std::vector<float> base = {}, values = {};

  std::span<float> read(const Block& block) {
    base.resize(static_cast<std::size_t>(block.elements()));
    values.resize(base.size());
    read_values(merge.base, block, base);
    read_task_vector(operand, block, base, values);
    return values;
  }
};

MagnitudeCounts::Counts counts_of(const TensorMerge& merge, const Grid& grid, const Operand& operand,
                                  const MagnitudeCounts& magnitudes) {
  MagnitudeCounts::Counts total = magnitudes.empty();
  std::mutex mutex;
  at::parallel_for(0, grid.blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    MagnitudeCounts::Counts own = magnitudes.empty();
    TaskVectorReader reader{merge, operand};
    for (std::int64_t index = begin; index < end; ++index) magnitudes.count(reader.read(grid.block(index)), own);
    const std::lock_guard lock(mutex);
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += own[i];
  });
  return total;
}

// How many of the entries at the threshold stay in each block, when only the first so many of all do.
std::vector<std::int64_t> split_ties(const TensorMerge& merge, const Grid& grid, const Operand& operand,
                                     const MagnitudeCounts::Found& found) {
  std::vector<std::int64_t> ties(static_cast<std::size_t>(grid.blocks));
  for_each_block(grid, [&, reader = TaskVectorReader{merge, operand}](const Block& block) mutable {
    for (const float value : reader.read(block))
      if (std::abs(value) == found.magnitude) ++ties[static_cast<std::size_t>(block.index)];
  });
  std::int64_t left = found.equal_kept;
  for (std::int64_t& count : ties) {
    count = std::min(count, left);
    left -= count;
  }
  return ties;
}

void find_largest(const TensorMerge& merge, const Grid& grid, const Operand& operand, double density, Kept& kept) {
  // At least one: nothing left of a small tensor would be another model's loss, not its share.
  const auto count = static_cast<std::int64_t>(density * static_cast<double>(grid.elements()));
  MagnitudeCounts magnitudes;
  magnitudes.narrow(counts_of(merge, grid, operand, magnitudes), std::max<std::int64_t>(1, count));
  const MagnitudeCounts::Found found = magnitudes.find(counts_of(merge, grid, operand, magnitudes));
  kept.threshold = found.magnitude;
  if (found.equal_kept < found.equal) kept.at_threshold = split_ties(merge, grid, operand, found);
}

// Magnitudes of all entries over those of the kept ones.
double l1_factor(const Kept& kept, const TensorMerge& merge, const Grid& grid, std::size_t operand) {
  std::vector<std::pair<double, double>> sums(static_cast<std::size_t>(grid.blocks));
  for_each_block(grid, [&, reader = TaskVectorReader{merge, merge.operands[operand]}](const Block& block) mutable {
    const std::span<float> values = reader.read(block);
    auto& [before, after] = sums[static_cast<std::size_t>(block.index)];
    before = absolute_sum(values);
    drop_entries(kept, block, merge, operand, values);
    after = absolute_sum(values);
  });
  double before = 0, after = 0;
  for (const auto& [all, left] : sums) {
    before += all;
    after += left;
  }
  constexpr double kNothing = 1e-7;  // of norms, as mergekit has it
  return before < kNothing || after < kNothing ? 1 : before / after;
}

}  // namespace

Kept find_kept(const TensorMerge& merge, const Grid& grid, std::size_t operand) {
  Kept kept;
  const double density = merge.parameters.densities[operand];
  if (merge.rule->keep == Keep::all || density >= 1 || grid.elements() == 0) return kept;
  if (merge.rule->keep == Keep::largest) {
    const float threshold = merge.operands[operand].threshold;
    if (threshold >= 0) {
      kept.threshold = threshold;
    } else {
      find_largest(merge, grid, merge.operands[operand], density, kept);
    }
  }
  if (merge.parameters.rescale == Rescale::density) kept.rescale = 1 / density;
  if (merge.parameters.rescale == Rescale::l1) kept.rescale = l1_factor(kept, merge, grid, operand);
  return kept;
}

void drop_entries(const Kept& kept, const Block& block, const TensorMerge& merge, std::size_t operand,
                  std::span<float> values) {
  const double density = merge.parameters.densities[operand];
  if (merge.rule->keep == Keep::all || density >= 1) return;
  if (merge.rule->keep == Keep::random) {
    const std::uint64_t seed = merge.operands[operand].seed;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (!is_drawn(seed, static_cast<std::uint64_t>(block.start()) + i, density)) values[i] = 0;
  } else {
    for (float& value : values) value = std::abs(value) < kept.threshold ? 0 : value;
    if (!kept.at_threshold.empty()) {
      std::int64_t left = kept.at_threshold[static_cast<std::size_t>(block.index)];
      for (float& value : values)
        if (std::abs(value) == kept.threshold && --left < 0) value = 0;
    }
  }
  scale(values, kept.rescale);
}

float model_threshold(std::span<TensorMerge* const> merges, std::size_t operand, double density) {
  SL_ASSERT(!merges.empty());
  MagnitudeCounts magnitudes;
  std::int64_t elements = 0;
  for (const TensorMerge* merge : merges) elements += grid_of(*merge).elements();
  const auto counts = [&] {
    MagnitudeCounts::Counts total = magnitudes.empty();
    for (const TensorMerge* merge : merges) {
      const auto of_tensor = counts_of(*merge, grid_of(*merge), merge->operands[operand], magnitudes);
      for (std::size_t i = 0; i < total.size(); ++i) total[i] += of_tensor[i];
    }
    return total;
  };
  const auto kept = static_cast<std::int64_t>(density * static_cast<double>(elements));
  magnitudes.narrow(counts(), std::max<std::int64_t>(1, kept));
  return magnitudes.find(counts()).magnitude;
}

std::pair<double, double> slerp_shares(const TensorMerge& merge, const Grid& grid) {
  struct Products {
    double first = 0, second = 0, both = 0;
  };
  std::vector<Products> blocks(static_cast<std::size_t>(grid.blocks));
  for_each_block(grid, [&, a = std::vector<float>(), b = std::vector<float>()](const Block& block) mutable {
    a.resize(static_cast<std::size_t>(block.elements()));
    b.resize(a.size());
    read_values(merge.operands[0].stored, block, a);
    read_values(merge.operands[1].stored, block, b);
    blocks[static_cast<std::size_t>(block.index)] = {squared_sum(a), squared_sum(b), product_sum(a, b)};
  });
  Products total;
  for (const Products& block : blocks) {
    total.first += block.first;
    total.second += block.second;
    total.both += block.both;
  }
  constexpr double kNothing = 1e-8, kColinear = 0.9995;
  const auto length = [](double squared) { return std::sqrt(squared) > kNothing ? std::sqrt(squared) : 1; };
  const double cosine = total.both / (length(total.first) * length(total.second)), t = merge.parameters.t;
  if (std::abs(cosine) > kColinear) return {1 - t, t};
  const double angle = std::acos(cosine);
  return {std::sin(angle * (1 - t)) / std::sin(angle), std::sin(angle * t) / std::sin(angle)};
}

}  // namespace streamline::merge
