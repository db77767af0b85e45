// SPDX-License-Identifier: Apache-2.0
// Conditions on what was measured, for scripts that must not let a worse model pass: --gate 'perplexity<=1.05x'.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace streamline::cli {

// Figures by name: "perplexity", "kl", "hellaswag.acc", "acc" (the tasks' mean), …
using Figures = std::map<std::string, double>;

struct Gate {
  std::string text;  // as it was given
  std::string figure;
  bool at_most = true;  // else at least
  bool strict = false;  // < or > instead of <= or >=
  double bound = 0;
  bool relative = false;  // "1.05x": times the source's figure
};
// Errors: usage, saying the form.
Gate parse_gate(const std::string& text);

struct GateResult {
  double value = 0, bound = 0;
  bool passed = false;
};
// Errors: usage for a figure that was not measured (lists those that were), and for a relative bound without a source.
GateResult check(const Gate& gate, const Figures& figures, const Figures* source);

}  // namespace streamline::cli
