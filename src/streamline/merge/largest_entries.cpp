// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/largest_entries.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <optional>

#include "streamline/base/error.h"
#include "streamline/merge/bracket_counts.h"

namespace streamline::merge {
namespace {

using Found = MagnitudeCounts::Found;
using Merges = std::span<const TensorMerge* const>;

// What is sought of one operand's task vector over the tensors.
struct Search {
  std::size_t operand = 0;
  std::int64_t kept = 0;                // entries
  std::optional<Bracket> bracket = {};  // of tensors that are passed over once
};

std::optional<Bf16Difference> stored_difference(const TensorMerge& merge, std::size_t operand) {
  const Operand& tuned = merge.operands[operand];
  const simd::Bf16* values = tuned.beside_base ? nullptr : bf16_numbers(tuned.stored, merge.header);
  const simd::Bf16* base = bf16_numbers(merge.base, merge.header);
  if (values == nullptr || base == nullptr) return {};
  return Bf16Difference{values, base, grid_of(merge).elements()};
}

// Nothing where a tensor is read in another way. As many are sampled as make the work on the sample and on what its
// bracket holds the least, which both grow with the number to the 2/3.
std::optional<Bracket> sampled_bracket(Merges merges, std::size_t operand, std::int64_t elements, double share) {
  const auto every = std::max(std::int64_t{1}, static_cast<std::int64_t>(std::cbrt(static_cast<double>(elements)) / 2));
  Rng rng(0);
  std::vector<Magnitude> sample;
  for (const TensorMerge* merge : merges) {
    const auto difference = stored_difference(*merge, operand);
    if (!difference) return {};
    add_sample(*difference, every, rng, sample);
  }
  return bracket_of(sample, share);
}

Search search_for(Merges merges, std::size_t operand) {
  std::int64_t elements = 0;
  for (const TensorMerge* merge : merges) elements += grid_of(*merge).elements();
  const double density = merges.front()->parameters.densities[operand];
  // At least one: nothing left of a small tensor would be another model's loss, not its share.
  const auto kept = std::max<std::int64_t>(1, static_cast<std::int64_t>(density * static_cast<double>(elements)));
  const double share = static_cast<double>(kept) / static_cast<double>(elements);
  return {.operand = operand, .kept = kept, .bracket = sampled_bracket(merges, operand, elements, share)};
}

// Of each search that has a bracket, of each block.
std::vector<std::vector<BracketCounts>> count_blocks(const TensorMerge& merge, const Grid& grid,
                                                     const std::vector<Search>& searches) {
  std::vector<std::vector<BracketCounts>> counts(searches.size());
  std::vector<std::optional<Bf16Difference>> differences;
  for (std::size_t i = 0; i < searches.size(); ++i) {
    counts[i].resize(static_cast<std::size_t>(grid.blocks));
    differences.push_back(stored_difference(merge, searches[i].operand));
  }
  for_each_block(grid, [&, room = std::vector<Magnitude>()](const Block& block) mutable {
    for (std::size_t i = 0; i < searches.size(); ++i)
      if (searches[i].bracket)
        counts[i][static_cast<std::size_t>(block.index)] =
            count_beside(*searches[i].bracket, differences[i]->part(block.start(), block.elements()), room);
  });
  return counts;
}

MagnitudeCounts::Counts counts_of(Merges merges, std::size_t operand, const MagnitudeCounts& magnitudes) {
  MagnitudeCounts::Counts total = magnitudes.empty();
  std::mutex mutex;
  for (const TensorMerge* merge : merges) {
    const Grid grid = grid_of(*merge);
    at::parallel_for(0, grid.blocks, 1, [&](std::int64_t begin, std::int64_t end) {
      MagnitudeCounts::Counts own = magnitudes.empty();
      TaskVectorReader reader{*merge, merge->operands[operand]};
      for (std::int64_t index = begin; index < end; ++index) magnitudes.count(reader.read(grid.block(index)), own);
      const std::lock_guard lock(mutex);
      for (std::size_t i = 0; i < total.size(); ++i) total[i] += own[i];
    });
  }
  return total;
}

Found found_in_two_passes(Merges merges, const Search& search) {
  MagnitudeCounts magnitudes;
  magnitudes.narrow(counts_of(merges, search.operand, magnitudes), search.kept);
  return magnitudes.find(counts_of(merges, search.operand, magnitudes));
}

std::vector<std::int64_t> ties_of_blocks(const TensorMerge& merge, const Grid& grid, std::size_t operand,
                                         Magnitude magnitude) {
  std::vector<std::int64_t> ties(static_cast<std::size_t>(grid.blocks));
  for_each_block(grid, [&, reader = TaskVectorReader{merge, merge.operands[operand]}](const Block& block) mutable {
    for (const float value : reader.read(block))
      ties[static_cast<std::size_t>(block.index)] += magnitude_of(value) == magnitude ? 1 : 0;
  });
  return ties;
}

// Where to stop, so that `kept` of the entries with this magnitude come before.
std::int64_t end_of_ties(const TensorMerge& merge, const Grid& grid, std::size_t operand, Magnitude magnitude,
                         std::int64_t kept, const std::vector<std::int64_t>& ties) {
  std::int64_t index = 0;
  for (; kept > ties[static_cast<std::size_t>(index)]; ++index) kept -= ties[static_cast<std::size_t>(index)];
  const Block block = grid.block(index);
  TaskVectorReader reader{merge, merge.operands[operand]};
  std::int64_t entry = block.start();
  for (const float value : reader.read(block)) {
    ++entry;
    if (magnitude_of(value) == magnitude && --kept == 0) break;
  }
  return entry;
}

}  // namespace

std::vector<Largest> find_largest(const TensorMerge& merge, const Grid& grid,
                                  const std::vector<std::size_t>& operands) {
  const TensorMerge* const merges[] = {&merge};
  std::vector<Search> searches;
  for (const std::size_t operand : operands) searches.push_back(search_for(merges, operand));
  const std::vector<std::vector<BracketCounts>> counts = count_blocks(merge, grid, searches);
  std::vector<Largest> all;
  for (std::size_t i = 0; i < searches.size(); ++i) {
    const Search& search = searches[i];
    BracketCounts total;
    for (const BracketCounts& block : counts[i]) total += block;
    const std::optional<Found> quickly = search.bracket ? find_in(*search.bracket, total, search.kept) : std::nullopt;
    const Found found = quickly ? *quickly : found_in_two_passes(merges, search);
    Largest& largest = all.emplace_back(Largest{.threshold = found.magnitude});
    // Entries of zero are nothing, kept or not.
    if (found.equal_kept == found.equal || found.magnitude == 0) continue;
    const Magnitude magnitude = magnitude_of(found.magnitude);
    std::vector<std::int64_t> ties;
    if (quickly) {
      for (const BracketCounts& block : counts[i]) ties.push_back(block.equal_to(magnitude, *search.bracket));
    } else {
      ties = ties_of_blocks(merge, grid, search.operand, magnitude);
    }
    largest.ties_end = end_of_ties(merge, grid, search.operand, magnitude, found.equal_kept, ties);
  }
  return all;
}

std::vector<float> model_thresholds(Merges merges) {
  SL_ASSERT(!merges.empty());
  const Parameters& parameters = merges.front()->parameters;
  std::vector<Search> searches;
  for (std::size_t i = 0; i < parameters.densities.size(); ++i)
    if (parameters.densities[i] < 1) searches.push_back(search_for(merges, i));
  std::vector<BracketCounts> totals(searches.size());
  for (const TensorMerge* merge : merges) {
    const auto counts = count_blocks(*merge, grid_of(*merge), searches);
    for (std::size_t i = 0; i < searches.size(); ++i)
      for (const BracketCounts& block : counts[i]) totals[i] += block;
  }
  std::vector<float> thresholds(parameters.densities.size(), -1);
  for (std::size_t i = 0; i < searches.size(); ++i) {
    const Search& search = searches[i];
    const auto quickly = search.bracket ? find_in(*search.bracket, totals[i], search.kept) : std::nullopt;
    thresholds[search.operand] = quickly ? quickly->magnitude : found_in_two_passes(merges, search).magnitude;
  }
  return thresholds;
}

}  // namespace streamline::merge
