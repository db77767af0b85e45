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

// Before the work: that the gate's figure will be measured, of the source too where the bound is relative (`source`:
// its names; null without one), and that a share is bounded by one. Errors: usage.
void check_gate(const Gate& gate, const std::vector<std::string>& names, const std::vector<std::string>* source);

struct GateResult {
  double value = 0, bound = 0;
  bool passed = false;
};
// For a gate that check_gate() has passed. Errors: mismatch where the figure could not be measured after all.
GateResult check(const Gate& gate, const Figures& figures, const Figures* source);

}  // namespace streamline::cli
