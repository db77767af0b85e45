// SPDX-License-Identifier: Apache-2.0
// Cuts by what is left instead of by what goes: parameters, bytes, KV cache, or time measured on this machine.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "streamline/prune/method.h"

namespace streamline {

enum class BudgetOf {
  parameters,  // of the whole model
  bytes,       // of the weights as they are stored
  kv_cache,    // bytes a token, of 16-bit keys and values
  latency,     // seconds for a prompt and some tokens after it, the median of several runs
};

struct Budget {
  BudgetOf what = BudgetOf::parameters;
  double limit = 0;
  bool of_source = true;  // a share of the source's; else in units of its own
  std::string text = {};  // as it was given, "params=0.8x"
};

// "params=0.8x,kv-cache=12KB": any of params, bytes, kv-cache and latency, each at most this share of the source's or
// this much (params: a number; bytes, kv-cache: a size; latency: seconds). Errors: usage, listing what exists.
std::vector<Budget> parse_budgets(const std::string& text);

// Whether meeting one of them depends on the machine that measures.
bool any_measured(const std::vector<Budget>& budgets);

double amount_of(const Model& model, BudgetOf what);
// "102M parameters", "11 MB", "1.2 KB a token", "0.031 s".
std::string amount_text(double amount, BudgetOf what);

// What a cut comes to, against one budget.
struct BudgetFigure {
  Budget budget;
  double source = 0, amount = 0;

  double limit() const { return budget.of_source ? budget.limit * source : budget.limit; }
  bool is_met() const { return amount <= limit(); }
};
Json to_json(const BudgetFigure& figure);

struct WithinBudget {
  std::string size_name = {};  // the parameter that says how much: "cut", "layers", "halves", "ratio"
  std::int64_t size = 0;       // in its steps: layers and halves, thousandths of a ratio
  std::string size_text = {};  // as it is given: "4", "0.25"
  Proposal proposal = {};
  std::vector<BudgetFigure> figures = {};
};

// How a cut of one size is made and looked at.
struct BudgetTrial {
  std::function<Proposal(const Json& params)> propose;       // with `params`, the size among them
  std::function<Model(const Proposal& proposal)> view = {};  // of what the proposal leaves
};

// The smallest cut of a method that meets all budgets: sizes are halved in on, since a larger cut leaves less.
// `params`: what was given of the method's parameters. Errors: usage for a size that is given too, and where no cut
// meets them: then the closest is named.
WithinBudget smallest_cut(const Method& method, const Json& params, const Model& source,
                          const std::vector<Budget>& budgets, const BudgetTrial& trial);

}  // namespace streamline
