// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/same_questions.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::size_t kShown = 5;

// "3 only in A (x, y, z)"; empty when there is nothing to tell.
std::string told(const std::vector<std::string>& names, const std::string& what) {
  if (names.empty()) return {};
  std::string text = std::to_string(names.size()) + " " + what + " (";
  for (std::size_t i = 0; i < std::min(kShown, names.size()); ++i) text += (i > 0 ? ", " : "") + names[i];
  return text + (names.size() > kShown ? ", …)" : ")");
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts)
    if (!part.empty()) text += (text.empty() ? "" : "; ") + part;
  return text;
}

// The names that stand in `from` and not in `other`, in order.
std::vector<std::string> missing(const std::vector<std::string>& from, const std::vector<std::string>& other) {
  const std::set<std::string> known(other.begin(), other.end());
  std::vector<std::string> left;
  for (const std::string& name : from)
    if (!known.contains(name)) left.push_back(name);
  return left;
}

template <class T>
std::vector<std::string> names_of(const std::vector<T>& values, std::string T::*name) {
  std::vector<std::string> names;
  names.reserve(values.size());
  for (const T& value : values) names.push_back(value.*name);
  return names;
}

std::vector<std::string> twice(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  std::vector<std::string> found;
  for (std::size_t i = 1; i < names.size(); ++i)
    if (names[i] == names[i - 1] && (found.empty() || found.back() != names[i])) found.push_back(names[i]);
  return found;
}

// Values of b in the order of a's names. Fails with `where` in front when the names are not the same.
template <class T>
std::vector<T> reordered(const std::vector<T>& a, std::vector<T> b, std::string T::*name, const SideNames& sides,
                         const std::string& where) {
  const auto names_a = names_of(a, name), names_b = names_of(b, name);
  if (names_a == names_b) return b;
  const std::string difference = joined(
      {told(missing(names_a, names_b), "only in " + sides.a), told(missing(names_b, names_a), "only in " + sides.b),
       told(twice(names_a), "more than once in " + sides.a), told(twice(names_b), "more than once in " + sides.b)});
  if (!difference.empty()) fail(ErrorKind::mismatch, where, difference);
  std::map<std::string_view, std::size_t> places;
  for (std::size_t i = 0; i < b.size(); ++i) places.emplace(names_b[i], i);
  std::vector<T> ordered;
  ordered.reserve(b.size());
  for (const std::string& wanted : names_a) ordered.push_back(std::move(b[places.at(wanted)]));
  return ordered;
}

void check_same_choices(const TaskAnswers& a, const TaskAnswers& b) {
  if (a.style != b.style || a.rule != b.rule)
    fail(ErrorKind::mismatch, a.name, ": the two sides put or score the questions differently (", name(a.style), ", ",
         name(b.style), ")");
  if (!a.labels.empty() && !b.labels.empty() && a.labels != b.labels)
    fail(ErrorKind::mismatch, a.name, ": the two sides name the choices differently");
  std::vector<std::string> golds, choices;
  for (std::size_t i = 0; i < a.answers.size(); ++i) {
    if (a.answers[i].gold != b.answers[i].gold) golds.push_back(a.answers[i].id);
    if (a.answers[i].log_likelihoods.size() != b.answers[i].log_likelihoods.size()) choices.push_back(a.answers[i].id);
  }
  const std::string difference =
      joined({told(golds, "with another right answer"), told(choices, "with another number of choices")});
  if (!difference.empty()) fail(ErrorKind::mismatch, a.name, ": questions differ: ", difference);
}

}  // namespace

TaskAnswers in_order_of(const TaskAnswers& a, TaskAnswers b, const SideNames& names) {
  b.answers = reordered(a.answers, std::move(b.answers), &Answer::id, names, a.name + ": not the same questions: ");
  check_same_choices(a, b);
  return b;
}

std::vector<TaskAnswers> in_order_of(const std::vector<TaskAnswers>& a, std::vector<TaskAnswers> b,
                                     const SideNames& names) {
  std::vector<TaskAnswers> ordered =
      reordered(a, std::move(b), &TaskAnswers::name, names, "not the same sets of questions: ");
  for (std::size_t i = 0; i < a.size(); ++i) ordered[i] = in_order_of(a[i], std::move(ordered[i]), names);
  return ordered;
}

}  // namespace streamline
