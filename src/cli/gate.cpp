// SPDX-License-Identifier: Apache-2.0
#include "gate.h"

#include <charconv>
#include <cmath>

#include "streamline/base/error.h"

namespace streamline::cli {
namespace {

constexpr const char* kForm = "write NAME<=NUMBER, or NAME>=0.95x for 0.95 times the source's figure";

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

double found(const Figures& figures, const std::string& name) {
  if (const auto at = figures.find(name); at != figures.end()) return at->second;
  std::string names;
  for (const auto& [known, value] : figures) names += (names.empty() ? "" : ", ") + known;
  fail(ErrorKind::usage, "--gate: no figure '", name, "' was measured; there are: ", names);
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
  const auto [end, error] = std::from_chars(bound.data(), bound.data() + bound.size(), gate.bound);
  if (error != std::errc() || end != bound.data() + bound.size() || !std::isfinite(gate.bound) || gate.figure.empty())
    fail(ErrorKind::usage, "--gate '", text, "': ", kForm);
  return gate;
}

GateResult check(const Gate& gate, const Figures& figures, const Figures* source) {
  GateResult result{.value = found(figures, gate.figure), .bound = gate.bound};
  if (gate.relative) {
    if (source == nullptr)
      fail(ErrorKind::usage, "--gate '", gate.text, "' is relative to a source; name it with --source");
    result.bound *= found(*source, gate.figure);
  }
  const double distance = gate.at_most ? result.bound - result.value : result.value - result.bound;
  result.passed = gate.strict ? distance > 0 : distance >= 0;
  return result;
}

}  // namespace streamline::cli
