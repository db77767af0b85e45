// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/error.h"
#include "streamline/tasks/task.h"

namespace streamline {

std::string_view name(Style style) { return style == Style::lm_eval ? "lm-eval" : "opencompass"; }

Style style_named(std::string_view name) {
  if (name == "lm-eval") return Style::lm_eval;
  if (name == "opencompass") return Style::opencompass;
  fail(ErrorKind::usage, "'", name, "' is no style of putting questions; expected lm-eval or opencompass");
}

}  // namespace streamline
