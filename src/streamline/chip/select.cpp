// SPDX-License-Identifier: Apache-2.0
#include "streamline/chip/select.h"

#include <array>

#include "streamline/base/error.h"
#include "streamline/base/value_named.h"
#include "streamline/chip/train.h"

namespace streamline::chip {
namespace {

constexpr std::array<std::string_view, 3> kRules = {"best", "earliest", "fixed"};

// The first chip of the highest validation accuracy among those that `fits` takes.
template <class Fits>
std::optional<std::size_t> best_chip(const std::vector<TrainedChip>& chips, const Fits& fits) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < chips.size(); ++i)
    if (fits(chips[i]) && (!best || chips[i].validation.accuracy() > chips[*best].validation.accuracy())) best = i;
  return best;
}

std::string in_words(const SelectOptions& options) {
  if (options.rule == Rule::best) return "best";
  if (options.rule == Rule::fixed) return "fixed";
  return "earliest within " + Json(options.within).dump();
}

}  // namespace

std::string_view name(Rule rule) { return kRules.at(static_cast<std::size_t>(rule)); }
Rule rule_named(std::string_view word) { return value_named<Rule>(kRules, word, "rule"); }

Choice select_chip(const std::vector<TrainedChip>& chips, const SelectOptions& options) {
  const auto kind = [&](const TrainedChip& chip) { return !options.kind || chip.chip.kind == *options.kind; };
  const auto best = best_chip(chips, kind);
  if (!best) fail(ErrorKind::usage, "there is no chip", options.kind ? " of this kind" : "", " to choose");
  std::int64_t layer = chips[*best].chip.layer;
  if (options.rule == Rule::earliest) {
    const double enough = chips[*best].validation.accuracy() - options.within;
    for (const TrainedChip& chip : chips)
      if (kind(chip) && chip.validation.accuracy() >= enough - 1e-12) layer = std::min(layer, chip.chip.layer);
  }
  if (options.rule == Rule::fixed) layer = options.layer;
  const auto chosen = best_chip(chips, [&](const TrainedChip& chip) { return kind(chip) && chip.chip.layer == layer; });
  if (!chosen) fail(ErrorKind::usage, "there is no chip behind layer ", layer);
  const Chip& found = chips[*chosen].chip;
  return {.chip = *chosen, .layer = found.layer, .kind = found.kind, .rule = in_words(options)};
}

}  // namespace streamline::chip
