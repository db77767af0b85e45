// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/stability_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "streamline/base/error.h"
#include "streamline/base/random.h"
#include "streamline/tasks/choice_items.h"
#include "streamline/tasks/paired.h"

namespace streamline {
namespace {

// What is left of a question: its weight (up to a factor of the whole set) and on which side the two models are.
struct Sided {
  double weight;
  bool original, shorter;
};
using SidedSet = std::vector<Sided>;

SidedSet sides(const std::string& name, const std::vector<ChoiceItem>& original,
               const std::vector<ChoiceItem>& shorter) {
  const std::vector<double> weights = stability_weights(original);
  SidedSet set;
  set.reserve(weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (!std::isfinite(weights[i]))
      fail(ErrorKind::numeric, name, ": scores of choices are too far apart to be weighed; choose another --score");
    set.push_back({weights[i], prediction(original[i]) == original[i].gold, prediction(shorter[i]) == shorter[i].gold});
  }
  return set;
}

// Of the set's questions at next(0), next(1), …
template <class Next>
StabilityFigures figures_of(const SidedSet& set, Next next) {
  double total = 0, kept = 0;
  std::size_t agree = 0, original = 0, shorter = 0;
  for (std::size_t i = 0; i < set.size(); ++i) {
    const Sided& question = set[next(i)];
    const bool same = question.original == question.shorter;
    total += question.weight;
    kept += same ? question.weight : 0;
    agree += same ? 1 : 0;
    original += question.original ? 1 : 0;
    shorter += question.shorter ? 1 : 0;
  }
  const auto count = static_cast<double>(set.size());
  return {kept / total, static_cast<double>(agree) / count, static_cast<double>(original) / count,
          static_cast<double>(shorter) / count};
}

StabilityFigures mean_of(const std::vector<StabilityFigures>& all, const std::vector<std::size_t>& members) {
  StabilityFigures mean;
  const double weight = 1 / static_cast<double>(members.size());
  for (const std::size_t member : members) {
    mean.stability += weight * all[member].stability;
    mean.agreement += weight * all[member].agreement;
    mean.accuracy_original += weight * all[member].accuracy_original;
    mean.accuracy_shorter += weight * all[member].accuracy_shorter;
  }
  return mean;
}

// Which sets make up each benchmark.
struct Groups {
  std::vector<std::string> names;
  std::vector<std::vector<std::size_t>> members;
};

Groups group(const std::vector<TaskAnswers>& sets) {
  Groups groups;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    const std::string& name = sets[i].group.empty() ? sets[i].name : sets[i].group;
    const auto found = std::find(groups.names.begin(), groups.names.end(), name);
    if (found == groups.names.end()) {
      groups.names.push_back(name);
      groups.members.push_back({i});
    } else {
      groups.members[static_cast<std::size_t>(found - groups.names.begin())].push_back(i);
    }
  }
  return groups;
}

// The rows' figures in their order: sets, groups, average.
std::vector<StabilityFigures> all_figures(std::vector<StabilityFigures> sets, const Groups& groups) {
  std::vector<StabilityFigures> benchmarks;
  benchmarks.reserve(groups.members.size());
  for (const auto& members : groups.members) benchmarks.push_back(mean_of(sets, members));
  std::vector<std::size_t> every(benchmarks.size());
  std::iota(every.begin(), every.end(), 0U);
  sets.insert(sets.end(), benchmarks.begin(), benchmarks.end());
  sets.push_back(mean_of(benchmarks, every));
  return sets;
}

// The middle 95 % of the values, linear between them; absent when one is not a number.
std::optional<Interval> interval(std::vector<double> values) {
  if (!std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); }))
    return std::nullopt;
  std::sort(values.begin(), values.end());
  const auto quantile = [&](double share) {
    const double place = share * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (place - std::floor(place)) * (values[above] - values[below]);
  };
  return Interval{quantile(0.025), quantile(0.975)};
}

template <class Value>
std::optional<Interval> interval_of(const std::vector<std::vector<StabilityFigures>>& resamples, std::size_t row,
                                    Value value) {
  std::vector<double> values;
  values.reserve(resamples.size());
  for (const auto& figures : resamples) values.push_back(value(figures[row]));
  return interval(std::move(values));
}

void add_intervals(const std::vector<StabilityRow*>& rows, const std::vector<SidedSet>& sets, const Groups& groups,
                   const StabilityOptions& options) {
  if (options.bootstrap < 1) return;
  Rng rng(options.seed);
  std::vector<std::vector<StabilityFigures>> resamples;
  for (std::int64_t i = 0; i < options.bootstrap; ++i) {
    std::vector<StabilityFigures> figures;
    figures.reserve(sets.size());
    for (const SidedSet& set : sets)
      figures.push_back(figures_of(set, [&](std::size_t) { return rng.below(set.size()); }));
    resamples.push_back(all_figures(std::move(figures), groups));
  }
  for (std::size_t row = 0; row < rows.size(); ++row) {
    rows[row]->stability = interval_of(resamples, row, [](const auto& figures) { return figures.stability; });
    rows[row]->agreement = interval_of(resamples, row, [](const auto& figures) { return figures.agreement; });
    rows[row]->relative_performance =
        interval_of(resamples, row, [](const auto& figures) { return figures.relative_performance(); });
  }
}

void add_certainty(StabilityRow& row) {
  row.p_value = mcnemar(row.right_to_wrong, row.wrong_to_right);
  row.difference = difference_interval(row.right_to_wrong, row.wrong_to_right, row.questions);
}

StabilityRow set_row(const TaskAnswers& set, const SidedSet& sided) {
  StabilityRow row{.name = set.name, .questions = static_cast<std::int64_t>(sided.size())};
  double sum = 0, squares = 0;
  for (const Sided& question : sided) {
    sum += question.weight;
    squares += question.weight * question.weight;
    if (question.original)
      (question.shorter ? row.both_right : row.right_to_wrong) += 1;
    else
      (question.shorter ? row.wrong_to_right : row.both_wrong) += 1;
  }
  row.effective_questions = sum * sum / squares;
  add_certainty(row);
  return row;
}

// Counts added up; what was published is a mean like the figures, and the effective questions those of such a mean.
StabilityRow joined(std::string name, const std::vector<StabilityRow>& rows, const std::vector<std::size_t>& members) {
  StabilityRow sum{.name = std::move(name), .sets = 0};
  double inverse = 0;
  for (const std::size_t member : members) {
    const StabilityRow& row = rows[member];
    inverse += 1 / row.effective_questions;
    sum.sets += row.sets;
    sum.questions += row.questions;
    sum.both_right += row.both_right;
    sum.both_wrong += row.both_wrong;
    sum.right_to_wrong += row.right_to_wrong;
    sum.wrong_to_right += row.wrong_to_right;
    if (row.as_published)
      sum.as_published = sum.as_published.value_or(0) + *row.as_published / static_cast<double>(members.size());
  }
  const auto count = static_cast<double>(members.size());
  sum.effective_questions = count * count / inverse;
  add_certainty(sum);
  return sum;
}

double published(const TaskAnswers& set, const std::vector<ChoiceItem>& a, const std::vector<ChoiceItem>& b) {
  const double value = stability_as_published(a, b);
  if (!std::isfinite(value))
    fail(ErrorKind::numeric, set.name,
         ": the published arithmetic overflows on these spreads; leave --as-published out");
  return value;
}

// A row a set, a row a benchmark, with their counts.
void add_rows(StabilityReport& report, const Groups& groups) {
  for (std::size_t i = 0; i < groups.names.size(); ++i) {
    report.groups.push_back(joined(groups.names[i], report.sets, groups.members[i]));
    // As benchmark_name.
    if (groups.members[i].size() == 1) report.groups.back().name = report.sets[groups.members[i].front()].name;
  }
  std::vector<std::size_t> every(report.groups.size());
  std::iota(every.begin(), every.end(), 0U);
  report.average = joined("average", report.groups, every);
}

std::vector<StabilityRow*> all_rows(StabilityReport& report) {
  std::vector<StabilityRow*> rows;
  rows.reserve(report.sets.size() + report.groups.size() + 1);
  for (StabilityRow& row : report.sets) rows.push_back(&row);
  for (StabilityRow& row : report.groups) rows.push_back(&row);
  rows.push_back(&report.average);
  return rows;
}

void check(const std::vector<TaskAnswers>& original, const std::vector<TaskAnswers>& shorter) {
  if (original.empty() || original.size() != shorter.size())
    fail(ErrorKind::mismatch, "stability: ", original.size(), " sets of one model, ", shorter.size(), " of the other");
  for (const TaskAnswers& set : original) {
    if (set.answers.empty()) fail(ErrorKind::mismatch, set.name, ": no questions");
    if (set.style != original.front().style)
      fail(ErrorKind::mismatch, set.name, ": ", name(set.style), " among sets of ", name(original.front().style));
  }
}

}  // namespace

StabilityReport stability_report(const std::vector<TaskAnswers>& original, const std::vector<TaskAnswers>& shorter,
                                 const StabilityOptions& options) {
  check(original, shorter);
  StabilityReport report{.score = title(options.score, original.front().style)};
  std::vector<SidedSet> sided;
  std::vector<StabilityFigures> figures;
  for (std::size_t i = 0; i < original.size(); ++i) {
    const auto a = choice_items(original[i], options.score), b = choice_items(shorter[i], options.score);
    sided.push_back(sides(original[i].name, a, b));
    figures.push_back(figures_of(sided.back(), [](std::size_t question) { return question; }));
    report.sets.push_back(set_row(original[i], sided.back()));
    if (options.as_published) report.sets.back().as_published = published(original[i], a, b);
  }
  const Groups groups = group(original);
  add_rows(report, groups);
  const std::vector<StabilityRow*> rows = all_rows(report);
  const auto all = all_figures(std::move(figures), groups);
  for (std::size_t row = 0; row < rows.size(); ++row) rows[row]->figures = all[row];
  add_intervals(rows, sided, groups, options);
  return report;
}

}  // namespace streamline
