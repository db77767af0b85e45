// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/tensor_passes.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "streamline/merge/block_arithmetic.h"
#include "streamline/merge/kept_entries.h"
#include "streamline/merge/largest_entries.h"

namespace streamline::merge {
namespace {

void keep_largest(const TensorMerge& merge, const Grid& grid, std::vector<Kept>& kept) {
  const auto keep = [&](std::size_t operand, const Largest& largest) {
    if (std::isnan(largest.threshold)) return;  // nothing is below
    kept[operand].least = std::bit_cast<std::uint32_t>(largest.threshold);
    kept[operand].ties_end = largest.ties_end;
  };
  std::vector<std::size_t> sought;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (merge.parameters.densities[i] >= 1) continue;
    if (const float threshold = merge.operands[i].threshold; threshold >= 0) {
      keep(i, {.threshold = threshold});
    } else {
      sought.push_back(i);
    }
  }
  const std::vector<Largest> found = find_largest(merge, grid, sought);
  for (std::size_t i = 0; i < sought.size(); ++i) keep(sought[i], found[i]);
}

void drop_at_random(std::uint64_t seed, std::uint64_t first, double density, std::span<float> values) {
  std::uint32_t masks[1024];
  for (std::size_t start = 0; start < values.size(); start += std::size(masks)) {
    const std::span<float> some = values.subspan(start, std::min(std::size(masks), values.size() - start));
    draw_entries(seed, first + start, density, {masks, some.size()});
    for (std::size_t i = 0; i < some.size(); ++i) some[i] = masks[i] == 0 ? 0 : some[i];
  }
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

std::vector<Kept> find_kept(const TensorMerge& merge, const Grid& grid) {
  const Parameters& parameters = merge.parameters;
  std::vector<Kept> kept(merge.operands.size());
  if (merge.rule->keep == Keep::all || grid.elements() == 0) return kept;
  if (merge.rule->keep == Keep::largest) keep_largest(merge, grid, kept);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (parameters.densities[i] >= 1) continue;
    if (parameters.rescale == Rescale::density) kept[i].rescale = 1 / parameters.densities[i];
    if (parameters.rescale == Rescale::l1) kept[i].rescale = l1_factor(kept[i], merge, grid, i);
  }
  return kept;
}

void drop_entries(const Kept& kept, const Block& block, const TensorMerge& merge, std::size_t operand,
                  std::span<float> values) {
  const double density = merge.parameters.densities[operand];
  if (merge.rule->keep == Keep::all || density >= 1) return;
  if (merge.rule->keep == Keep::random) {
    drop_at_random(merge.operands[operand].seed, static_cast<std::uint64_t>(block.start()), density, values);
  } else {
    const auto whole = static_cast<std::int64_t>(values.size());
    const auto ties = static_cast<std::size_t>(std::clamp(kept.ties_end - block.start(), std::int64_t{0}, whole));
    drop_below(kept.least, values.first(ties));
    drop_below(kept.least + 1, values.subspan(ties));
  }
  scale(values, kept.rescale);
}

std::pair<double, double> slerp_shares(const TensorMerge& merge, const Grid& grid) {
  std::vector<Products> blocks(static_cast<std::size_t>(grid.blocks));
  for_each_block(grid, [&, a = std::vector<float>(), b = std::vector<float>()](const Block& block) mutable {
    a.resize(static_cast<std::size_t>(block.elements()));
    b.resize(a.size());
    read_values(merge.operands[0].stored, block, a);
    read_values(merge.operands[1].stored, block, b);
    blocks[static_cast<std::size_t>(block.index)] = products_of(a, b);
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
