// SPDX-License-Identifier: Apache-2.0
// Sums of scores over ranks: all that is summed as one row of numbers, as long on a rank that had no sequences.
#include <cmath>

#include "streamline/prune/scores.h"
#include "streamline/prune/update_pairs.h"

namespace streamline {
namespace {

// A value that some ranks may lack: how many have it, then the value.
template <class Value, class Visit>
void each_optional(std::optional<Value>& value, const Visit& visit, const std::function<void(Value&)>& visit_value) {
  double holders = value ? 1 : 0;
  Value present = value.value_or(Value{});
  visit(holders);
  visit_value(present);
  value = holders > 0 ? std::optional<Value>(present) : std::nullopt;
}

template <class Visit>
void each_number(Scores& sums, const Visit& visit) {
  for (std::int64_t* count : {&sums.sequences, &sums.tokens}) {
    double number = static_cast<double>(*count);
    visit(number);
    *count = std::llround(number);
  }
  for (std::vector<double>* matrix : {&sums.cosine, &sums.relative_l2, &sums.angular_last, &sums.angular_all})
    for (double& value : *matrix) visit(value);
  for (LayerNorms& norms : sums.states) visit(norms.mean), visit(norms.largest_over_median);
  each_optional<double>(sums.normed_last_cosine, visit, [&](double& value) { visit(value); });
  const auto each_field = [&](UpdateStatistics& update) {
    for (const auto& [name, value] : kUpdateFields) visit(update.*value);
  };
  for (UpdateStatistics& update : sums.layer_updates) each_field(update);
  for (auto* updates : {&sums.attention_updates, &sums.mlp_updates})
    for (std::optional<UpdateStatistics>& update : *updates) each_optional<UpdateStatistics>(update, visit, each_field);
}

}  // namespace

void sum_updates(const Ranks& ranks, std::span<UpdateStatistics> updates) {
  if (ranks.alone()) return;
  std::vector<double> row;
  for (const UpdateStatistics& update : updates)
    for (const auto& [name, value] : kUpdateFields) row.push_back(update.*value);
  ranks.sum(row);
  auto next = row.begin();
  for (UpdateStatistics& update : updates)
    for (const auto& [name, value] : kUpdateFields) update.*value = *next++;
}

void ScoreAccumulator::sum_over(const Ranks& ranks) {
  if (ranks.alone()) return;
  const auto layers = static_cast<std::size_t>(sums_.layers);
  sums_.layer_updates.resize(layers);
  sums_.attention_updates.resize(layers);
  sums_.mlp_updates.resize(layers);
  std::vector<double> row;
  each_number(sums_, [&](double& value) { row.push_back(value); });
  ranks.sum(row);
  auto next = row.begin();
  each_number(sums_, [&](double& value) { value = *next++; });
}

}  // namespace streamline
