// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/bracket_counts.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "streamline/base/error.h"

namespace streamline::merge {
namespace {

using simd::Bf16;

constexpr std::int64_t kLine = 32;     // neighbours that are sampled together: a line of the cache
constexpr double kDeviations = 4;      // of the sample's share, on either side of it
constexpr std::size_t kStretch = 512;  // entries whose magnitudes are at hand at a time
constexpr std::size_t kFlags = 8;      // that are looked at together

struct Tally {
  std::int64_t above = 0, at_high = 0, at_low = 0;
  std::size_t between = 0;
};

SL_INLINE Magnitude difference_at(const Bf16* values, const Bf16* base, std::size_t i) {
  const float difference = simd::load(values + i) - simd::load(base + i);
  return static_cast<Magnitude>(std::bit_cast<std::uint32_t>(difference) & 0x7fffffffu);
}

// `between` has room for `count` and kFlags more.
SL_INLINE void tally_body(const Bf16* __restrict values, const Bf16* __restrict base, std::size_t count,
                          const Bracket& bracket, Magnitude* __restrict between, Tally* tally) {
  alignas(64) Magnitude magnitudes[kStretch] = {};
  alignas(64) std::uint8_t inside[kStretch];
  const Magnitude low = bracket.low, high = bracket.high;
  Tally sums;
  for (std::size_t first = 0; first < count; first += kStretch) {
    const std::size_t size = std::min(kStretch, count - first);
    std::uint32_t above = 0, at_high = 0, at_low = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const Magnitude magnitude = difference_at(values + first, base + first, i);
      magnitudes[i] = magnitude;
      above += magnitude > high ? 1u : 0u;
      at_high += magnitude == high ? 1u : 0u;
      at_low += magnitude == low ? 1u : 0u;
      inside[i] = (magnitude > low) & (magnitude < high) ? 1 : 0;
    }
    for (std::size_t i = size; i % kFlags != 0; ++i) inside[i] = 0;
    sums.above += above;
    sums.at_high += at_high;
    sums.at_low += at_low;
    // First which groups have one, then which of each it is: no branch that would be guessed wrongly.
    std::size_t groups[kStretch / kFlags + 1], found = 0;
    for (std::size_t i = 0; i < size; i += kFlags) {
      std::uint64_t any = 0;
      static_assert(sizeof any == kFlags);
      std::memcpy(&any, inside + i, sizeof any);
      groups[found] = i;
      found += any != 0 ? 1 : 0;
    }
    for (std::size_t group = 0; group < found; ++group)
      for (std::size_t i = groups[group], end = i + kFlags; i < end; ++i) {
        between[sums.between] = magnitudes[i];
        sums.between += inside[i];
      }
  }
  *tally = sums;
}
SL_DISPATCH(tally,
            (const Bf16* values, const Bf16* base, std::size_t count, const Bracket& bracket, Magnitude* between,
             Tally* sums),
            (values, base, count, bracket, between, sums))

}  // namespace

// A line of each stretch of them, at a place that chance decides: no pattern of rows or columns is met again and again.
void add_sample(const Bf16Difference& difference, std::int64_t every, Rng& rng, std::vector<Magnitude>& to) {
  std::vector<std::int64_t> lines;
  for (std::int64_t first = 0; first < difference.count; first += every * kLine) {
    const std::int64_t stretch = std::min(every * kLine, difference.count - first);
    const auto places = static_cast<std::uint64_t>((stretch + kLine - 1) / kLine);
    lines.push_back(first + static_cast<std::int64_t>(rng.below(places)) * kLine);
  }
  constexpr std::size_t kAhead = 16;  // lines that are under way from memory
  for (std::size_t line = 0; line < lines.size(); ++line) {
    const std::int64_t ahead = lines[std::min(line + kAhead, lines.size() - 1)];
    __builtin_prefetch(difference.values + ahead);
    __builtin_prefetch(difference.base + ahead);
    const std::int64_t end = std::min(lines[line] + kLine, difference.count);
    for (std::int64_t i = lines[line]; i < end; ++i)
      to.push_back(difference_at(difference.values, difference.base, static_cast<std::size_t>(i)));
  }
}

Bracket bracket_of(std::span<Magnitude> sample, double share) {
  SL_ASSERT(!sample.empty());
  const auto count = static_cast<double>(sample.size());
  const double rank = share * count, margin = kDeviations * std::sqrt(rank * (1 - share)) + 1;
  const auto upper = static_cast<std::int64_t>(rank - margin), lower = static_cast<std::int64_t>(rank + margin);
  Bracket bracket{.low = -1, .high = std::numeric_limits<Magnitude>::max()};
  auto end = sample.end();
  if (lower < static_cast<std::int64_t>(sample.size())) {
    end = sample.begin() + lower;
    std::nth_element(sample.begin(), end, sample.end(), std::greater());
    bracket.low = *end;
  }
  if (upper > 0) {
    std::nth_element(sample.begin(), sample.begin() + upper, end, std::greater());
    bracket.high = sample[static_cast<std::size_t>(upper)];
  }
  return bracket;
}

BracketCounts& BracketCounts::operator+=(const BracketCounts& other) {
  above += other.above;
  at_high += other.at_high;
  at_low += other.at_low;
  between.insert(between.end(), other.between.begin(), other.between.end());
  return *this;
}

std::int64_t BracketCounts::equal_to(Magnitude magnitude, const Bracket& bracket) const {
  if (magnitude == bracket.high) return at_high;
  if (magnitude == bracket.low) return at_low;
  return std::ranges::count(between, magnitude);
}

BracketCounts count_beside(const Bracket& bracket, const Bf16Difference& difference, std::vector<Magnitude>& room) {
  const auto count = static_cast<std::size_t>(difference.count);
  room.resize(count + kFlags);
  Tally sums;
  tally(difference.values, difference.base, count, bracket, room.data(), &sums);
  return {.above = sums.above,
          .at_high = sums.at_high,
          .at_low = sums.at_low,
          .between = {room.data(), room.data() + sums.between}};
}

std::optional<MagnitudeCounts::Found> find_in(const Bracket& bracket, BracketCounts& counts, std::int64_t kept) {
  std::int64_t left = kept - counts.above;
  if (left <= 0) return {};
  if (left <= counts.at_high) return MagnitudeCounts::Found{value_of(bracket.high), counts.at_high, left};
  left -= counts.at_high;
  std::vector<Magnitude>& between = counts.between;
  if (const auto size = static_cast<std::int64_t>(between.size()); left > size) {
    left -= size;
    if (bracket.low == bracket.high || left > counts.at_low) return {};
    return MagnitudeCounts::Found{value_of(bracket.low), counts.at_low, left};
  }
  const auto found = between.begin() + (left - 1);
  std::nth_element(between.begin(), found, between.end(), std::greater());
  const Magnitude magnitude = *found;
  const auto larger = std::count_if(between.begin(), found, [&](Magnitude other) { return other > magnitude; });
  return MagnitudeCounts::Found{value_of(magnitude), std::ranges::count(between, magnitude), left - larger};
}

}  // namespace streamline::merge
