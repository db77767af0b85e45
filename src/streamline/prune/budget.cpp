// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/budget.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "streamline/arch/cache_size.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/parse_number.h"
#include "streamline/base/resources.h"
#include "streamline/eval/speed.h"
#include "streamline/io/checkpoint_writer.h"

namespace streamline {
namespace {

constexpr std::int64_t kRatioSteps = 1000;  // in which a share is looked for
constexpr double kSteady = 1.3;             // times of the source that differ by less are as good as equal
constexpr std::int64_t kLatencyPrompt = 128, kLatencyDecode = 16, kLatencyRepetitions = 3;

struct BudgetName {
  BudgetOf what;
  std::string_view name;
};
constexpr std::array kBudgetNames = {BudgetName{BudgetOf::parameters, "params"}, BudgetName{BudgetOf::bytes, "bytes"},
                                     BudgetName{BudgetOf::kv_cache, "kv-cache"},
                                     BudgetName{BudgetOf::latency, "latency"}};

std::optional<double> positive_number(std::string_view text) {
  const auto value = parse_number<double>(text);
  return value && *value > 0 && std::isfinite(*value) ? value : std::nullopt;
}

Budget parse_budget(const std::string& text) {
  const std::size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  const auto known =
      std::ranges::find_if(kBudgetNames, [&](const BudgetName& candidate) { return candidate.name == name; });
  if (equals == std::string::npos || known == kBudgetNames.end())
    fail(ErrorKind::usage, "--budget ", text, ": give params=, bytes=, kv-cache= or latency=, each a share of the ",
         "source's (0.8x) or an amount");
  const std::string value = text.substr(equals + 1);
  Budget budget{.what = known->what, .text = text};
  if (value.ends_with('x')) {
    const auto share = positive_number(std::string_view(value).substr(0, value.size() - 1));
    if (!share || *share >= 1) fail(ErrorKind::usage, "--budget ", text, ": a share lies between 0 and 1, as 0.8x");
    budget.limit = *share;
    return budget;
  }
  budget.of_source = false;
  if (budget.what == BudgetOf::bytes || budget.what == BudgetOf::kv_cache) {
    budget.limit = static_cast<double>(parse_size(value));
  } else {
    const bool counted = budget.what == BudgetOf::parameters;
    const double unit = !counted ? 1 : value.ends_with('M') ? 1e6 : value.ends_with('B') ? 1e9 : 1;
    const auto amount = positive_number(std::string_view(value).substr(0, value.size() - (unit > 1 ? 1 : 0)));
    if (counted && amount && *amount * unit < 1)
      fail(ErrorKind::usage, "--budget ", text, ": less than one parameter; a share of the source's is ", name, "=",
           value, "x");
    if (!amount)
      fail(ErrorKind::usage, "--budget ", text, ": '", value, "' is neither a share (0.8x) nor a number, as ",
           counted ? "4000000, 4M or 7B" : "0.5, in seconds");
    budget.limit = *amount * unit;
  }
  return budget;
}

double seconds_of(const Model& model) {
  const std::int64_t positions = model.config().max_positions;
  SpeedOptions options{.prompt = kLatencyPrompt, .decode = kLatencyDecode, .repetitions = kLatencyRepetitions};
  if (positions > 0) options.prompt = std::min(options.prompt, std::max<std::int64_t>(1, positions - options.decode));
  const SpeedResult speed = measure_speed(model, options, false);
  return static_cast<double>(options.prompt) / speed.prefill_tokens_per_second +
         static_cast<double>(options.decode) / speed.decode_tokens_per_second;
}

// What says how much a method takes, with the finest steps that it has, and the most that could ever go.
struct SizeParam {
  std::string name;
  std::int64_t most = 0;
  std::int64_t steps = 0;  // that a share has; 0: it counts

  // Divided: 959 times 0.001 is not 0.959.
  Json at(std::int64_t size) const {
    return steps > 0 ? Json(static_cast<double>(size) / static_cast<double>(steps)) : Json(size);
  }
};

SizeParam size_param(const Method& method, const Json& params, std::int64_t layers) {
  const auto has = [&](std::string_view name) {
    return std::ranges::any_of(method.params, [&](const Param& param) { return param.name == name; });
  };
  for (const char* size : {"layers", "cut", "halves", "sparsity", "threshold", "ratio", "keep-heads", "keep-channels"})
    if (params.contains(size) && !params[size].is_null())
      fail(ErrorKind::usage, "--budget says how much to cut, and so does --", size, "; give one of the two");
  if (has("ratio")) return {"ratio", kRatioSteps - 1, kRatioSteps};
  const Json resolved = resolve_params(method.params, params, std::string(method.name));
  const bool of_layers = has("units") && resolved.at("units") == "layers";
  if (has("halves") && !of_layers) return {"halves", 2 * layers};
  return {has("cut") ? "cut" : "layers", layers};
}

class Halving {
 public:
  Halving(const Json& params, const Model& source, const std::vector<Budget>& budgets, const BudgetTrial& trial,
          SizeParam size)
      : params_(params), source_(source), trial_(trial), size_(std::move(size)) {
    for (const Budget& budget : budgets)
      sources_.push_back({.budget = budget, .source = amount_of(source, budget.what)});
  }

  // The smallest size that meets the budgets; else the largest that can be had.
  std::optional<WithinBudget> run() {
    std::optional<WithinBudget> best, closest;
    std::int64_t below = 0, above = size_.most + 1;
    while (below + 1 < above) {
      const std::int64_t middle = below + (above - below) / 2;
      std::optional<WithinBudget> found = first_possible(middle, above);
      if (!found) {
        above = middle;
      } else if (std::ranges::all_of(found->figures, &BudgetFigure::is_met)) {
        best = std::move(found);
        above = middle;
      } else {
        below = found->size;
        closest = std::move(found);
      }
    }
    return best ? std::move(best) : std::move(closest);
  }

  const std::string& why_not() const { return why_not_; }

  // A machine that does other work too measures another budget each time. Empty: its times agree.
  std::string unsteady() const {
    if (slowest_ <= kSteady * fastest_) return "";
    return "the source alone took between " + amount_text(fastest_, BudgetOf::latency) + " and " +
           amount_text(slowest_, BudgetOf::latency) +
           " while cuts were measured: the machine does other work, and another run may choose another cut";
  }

 private:
  // Of the sizes from `first` up to `end`, without it. Some cannot be had: more than the model has, or none of a method
  // that goes in steps.
  std::optional<WithinBudget> first_possible(std::int64_t first, std::int64_t end) {
    for (std::int64_t size = first; size < end; ++size) {
      Json params = params_;
      params[size_.name] = size_.at(size);
      try {
        return looked_at(size, trial_.propose(params));
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::usage && error.kind() != ErrorKind::mismatch) throw;
        if (why_not_.empty()) why_not_ = error.what();
      }
    }
    return std::nullopt;
  }

  WithinBudget looked_at(std::int64_t size, Proposal proposal) {
    WithinBudget found{.size_name = size_.name,
                       .size = size,
                       .size_text = size_.at(size).dump(),
                       .proposal = std::move(proposal),
                       .figures = sources_};
    const Model view = trial_.view(found.proposal);
    for (BudgetFigure& figure : found.figures) {
      // What else runs here changes with time, so that the two are measured side by side.
      if (figure.budget.what == BudgetOf::latency) {
        figure.source = amount_of(source_, BudgetOf::latency);
        fastest_ = std::min(fastest_, figure.source);
        slowest_ = std::max(slowest_, figure.source);
      }
      figure.amount = amount_of(view, figure.budget.what);
      log_detail("--" + size_.name + " " + found.size_text + ": " + amount_text(figure.amount, figure.budget.what));
    }
    return found;
  }

  const Json& params_;
  const Model& source_;
  const BudgetTrial& trial_;
  SizeParam size_;
  std::vector<BudgetFigure> sources_;
  std::string why_not_;
  double fastest_ = std::numeric_limits<double>::infinity(), slowest_ = 0;  // seconds of the source, measured again
};

// Whether what it leaves is written larger than it is.
bool is_padded(const Model& source, const Proposal& proposal, const BudgetTrial& trial) {
  return proposal.replacements.empty() &&
         std::ranges::none_of(proposal.plan.segments, [](const Segment& s) { return s.action == Action::replace; }) &&
         trial.view(proposal).parameters() > source.view(proposal.plan, {}).parameters();
}

}  // namespace

std::vector<Budget> parse_budgets(const std::string& text) {
  std::vector<Budget> budgets;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    budgets.push_back(parse_budget(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return budgets;
}

bool any_measured(const std::vector<Budget>& budgets) {
  return std::ranges::any_of(budgets, [](const Budget& budget) { return budget.what == BudgetOf::latency; });
}

double amount_of(const Model& model, BudgetOf what) {
  switch (what) {
    case BudgetOf::parameters:
      return static_cast<double>(model.parameters());
    case BudgetOf::bytes:
      return static_cast<double>(model.weight_bytes());
    case BudgetOf::kv_cache:
      return 2 * static_cast<double>(cache_values_per_token(model.config()));
    case BudgetOf::latency:
      return seconds_of(model);
  }
  SL_ASSERT(false);
  return 0;
}

std::string amount_text(double amount, BudgetOf what) {
  if (what == BudgetOf::parameters) return format_count(amount) + " parameters";
  if (what == BudgetOf::bytes) return format_bytes(static_cast<std::uint64_t>(amount));
  if (what == BudgetOf::kv_cache) return format_bytes(static_cast<std::uint64_t>(amount)) + " a token";
  return general(amount, 3) + " s";
}

Json to_json(const BudgetFigure& figure) {
  return {
      {"budget", figure.budget.text}, {"limit", figure.limit()}, {"source", figure.source}, {"amount", figure.amount}};
}

WithinBudget smallest_cut(const Method& method, const Json& params, const Model& source,
                          const std::vector<Budget>& budgets, const BudgetTrial& trial) {
  Halving halving(params, source, budgets, trial, size_param(method, params, source.layer_count()));
  std::optional<WithinBudget> found = halving.run();
  if (!found) fail(ErrorKind::usage, halving.why_not());
  for (const BudgetFigure& figure : found->figures)
    if (!figure.is_met())
      fail(ErrorKind::usage, "--budget ", figure.budget.text, ": ", method.name, " cannot meet it; the closest is --",
           found->size_name, " ", found->size_text, " with ", amount_text(figure.amount, figure.budget.what), " (",
           general(figure.amount / figure.source, 3), "x)",
           is_padded(source, found->proposal, trial)
               ? ", since what went inside layers is written as zeros (see --format)"
               : "");
  if (const std::string sentence = halving.unsteady(); !sentence.empty()) found->proposal.warnings.push_back(sentence);
  return std::move(*found);
}

}  // namespace streamline
