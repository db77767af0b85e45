// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/start.h"

#include <array>
#include <string>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::array kStarts = {Start::zero, Start::inherit, Start::random, Start::closed_form};

}  // namespace

std::string_view start_name(Start start) {
  switch (start) {
    case Start::zero:
      return "zero";
    case Start::inherit:
      return "inherit";
    case Start::random:
      return "random";
    case Start::closed_form:
      return "closed-form";
  }
  fail(ErrorKind::internal, "unknown start");
}

Start parse_start(std::string_view name) {
  std::string known;
  for (const Start start : kStarts) {
    if (start_name(start) == name) return start;
    known += (known.empty() ? "" : ", ") + std::string(start_name(start));
  }
  fail(ErrorKind::usage, "no start is called '", name, "'; there are ", known);
}

}  // namespace streamline
