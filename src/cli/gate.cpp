// SPDX-License-Identifier: Apache-2.0
#include "gate.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/parse_number.h"

namespace streamline::cli {
namespace {

constexpr const char* kForm =
    "write NAME<=NUMBER, or NAME>=0.95x for 0.95 times the source's figure; accuracies are shares: 0.4, not 40 %";

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

void check_measured(const Gate& gate, const std::vector<std::string>& names, const char* whose) {
  if (std::ranges::find(names, gate.figure) != names.end()) return;
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  fail(ErrorKind::usage, "--gate '", gate.text, "': no figure '", gate.figure, "' of ", whose,
       " is measured; there are: ", known);
}

double value_of(const Gate& gate, const Figures& figures) {
  const auto found = figures.find(gate.figure);
  if (found == figures.end()) fail(ErrorKind::mismatch, "--gate '", gate.text, "': ", gate.figure, " was not measured");
  return found->second;
}

bool is_share(const std::string& figure) {
  const std::string metric = figure.substr(figure.rfind('.') + 1);
  return metric == "acc" || metric == "acc_norm" || metric == "same_first_choice";
}

}  // namespace

Gate parse_gate(const std::string& text) {
  const std::size_t sign = text.find_first_of("<>");
  if (sign == std::string::npos || sign == 0) fail(ErrorKind::usage, "--gate '", text, "': ", kForm);
  Gate gate{.text = text, .figure = trimmed(text.substr(0, sign)), .at_most = text[sign] == '<'};
  std::size_t number = sign + 1;
  gate.strict = number >= text.size() || text[number] != '=';
  if (!gate.strict) ++number;
  std::string bound = trimmed(text.substr(number));
  gate.relative = !bound.empty() && bound.back() == 'x';
  if (gate.relative) bound.pop_back();
  const auto value = parse_number<double>(bound);
  if (!value || !std::isfinite(*value) || gate.figure.empty()) fail(ErrorKind::usage, "--gate '", text, "': ", kForm);
  gate.bound = *value;
  return gate;
}

void check_gate(const Gate& gate, const std::vector<std::string>& names, const std::vector<std::string>* source) {
  check_measured(gate, names, "the model");
  if (!gate.relative && is_share(gate.figure) && (gate.bound > 1 || gate.bound < 0))
    fail(ErrorKind::usage, "--gate '", gate.text, "': ", gate.figure,
         " is a share from 0 to 1, not per cent; for 40 % write 0.4");
  if (!gate.relative) return;
  if (source == nullptr)
    fail(ErrorKind::usage, "--gate '", gate.text, "' is relative to a source; name it with --source");
  check_measured(gate, *source, "the source");
}

GateResult check(const Gate& gate, const Figures& figures, const Figures* source) {
  GateResult result{.value = value_of(gate, figures), .bound = gate.bound};
  if (gate.relative) result.bound *= value_of(gate, *source);
  const double distance = gate.at_most ? result.bound - result.value : result.value - result.bound;
  result.passed = gate.strict ? distance > 0 : distance >= 0;
  return result;
}

}  // namespace streamline::cli
