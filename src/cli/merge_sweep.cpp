// SPDX-License-Identifier: Apache-2.0
#include "merge_sweep.h"

#include <cmath>
#include <filesystem>
#include <sstream>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/perplexity_text.h"
#include "streamline/eval/sweep_score.h"
#include "streamline/merge/view.h"
#include "streamline/report/report.h"

namespace streamline::cli {
namespace {

constexpr std::string_view kCoefficients[] = {"alpha", "beta", "scale", "t"};
constexpr std::size_t kMostValues = 1000;

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
  return parts;
}

// First, first + step … up to last; counted, so that rounding adds none.
std::vector<double> range(const std::vector<std::string>& words) {
  const double first = parse_number(words[0], "--sweep"), last = parse_number(words[1], "--sweep"),
               step = parse_number(words[2], "--sweep");
  const double count = std::floor((last - first) / step + 1 + 1e-9);
  if (step == 0 || !(count >= 1 && count <= static_cast<double>(kMostValues)))
    fail(ErrorKind::usage, "--sweep: ", words[0], ":", words[1], ":", words[2], " is no range of at most ", kMostValues,
         " values; expected FIRST:LAST:STEP");
  std::vector<double> values;
  for (int i = 0; i < static_cast<int>(count); ++i) values.push_back(first + step * i);
  return values;
}

// The texts of the sweep.
class Texts {
 public:
  Texts(const SweepOptions& options, const merge::Source& reference, const Config& config)
      : tokenizer_(open_tokenizer(reference.checkpoint->files())) {
    check_tokenizer(*tokenizer_, config, reference.name);
    perplexity_.bos = resolve_bos("auto", *tokenizer_);
    perplexity_.window = resolve_seq_len(config, options.window, Longer::refused, perplexity_.bos, "--window");
    perplexity_.max_windows = options.windows;
    for (const std::string& target : options.targets)
      targets_.push_back(load_evaluation_text(target, options.corpus, *tokenizer_));
    if (!options.control.empty()) control_ = load_evaluation_text(options.control, options.corpus, *tokenizer_);
  }

  // How each was read, as figures of one model say.
  Json description(const SweepFigures& figures) const {
    Json names = Json::array(), read = Json::array();
    const auto add = [&](const EvaluationText& text, const PerplexityResult& result) {
      read.push_back({{"source", text.source}});
      const Json measured = to_json(result, perplexity_, text);
      for (const char* key : {"tokens", "windows", "window", "stride", "bos"}) read.back()[key] = measured[key];
    };
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      names.push_back(targets_[i].source);
      add(targets_[i], figures.targets[i]);
    }
    if (control_) add(*control_, *figures.control);
    return {{"targets", names},
            {"control", control_ ? Json(control_->source) : Json()},
            {"window", perplexity_.window},
            {"windows", perplexity_.max_windows},
            {"read", read}};
  }
  SweepFigures measure(const Model& model) const {
    SweepFigures figures;
    for (const EvaluationText& text : targets_) figures.targets.push_back(measured(model, text));
    if (control_) figures.control = measured(model, *control_);
    return figures;
  }

 private:
  PerplexityResult measured(const Model& model, const EvaluationText& text) const {
    return perplexity(model, text, perplexity_, tokenizer_->bos());
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  PerplexityOptions perplexity_;
  std::vector<EvaluationText> targets_;
  std::optional<EvaluationText> control_;
};

Json figures_json(const SweepFigures& figures) {
  const auto error = [](const PerplexityResult& result) {
    return result.standard_error ? Json(*result.standard_error) : Json();
  };
  Json values = Json::array(), errors = Json::array();
  for (const PerplexityResult& target : figures.targets) {
    values.push_back(target.value);
    errors.push_back(error(target));
  }
  return {{"targets", values},
          {"control", figures.control ? Json(figures.control->value) : Json()},
          {"standard_errors", {{"targets", errors}, {"control", figures.control ? error(*figures.control) : Json()}}}};
}

// One of the models of a plan with one slice, as it is.
Model alone(const merge::MergePlan& plan, std::size_t model, const Placement& placement) {
  merge::Request request{.rule = &merge::find_rule("passthrough"), .models = {plan.request.models[model]}};
  request.slices = merge::whole_models(request.models, {0}, std::nullopt);
  request.parameters = [](const merge::Place&) { return merge::Parameters{.weights = {1}, .densities = {1}}; };
  return merge::view(merge::plan_merge(std::move(request)), placement);
}

// The values whose scores these windows do not tell from the best one's; null where there are too few windows to tell.
Json within_error(const SweepScore& score, const std::vector<SweepFigures>& tried, const Sweep& sweep,
                  std::size_t best) {
  if (tried[best].windows() < kFewestPairs) return nullptr;
  Json values = Json::array();
  for (std::size_t i = 0; i < tried.size(); ++i) {
    const Estimate difference = score.difference(tried[best], tried[i]);
    if (i != best && difference.value <= 1.96 * difference.standard_error.value_or(0))
      values.push_back(sweep.values[i]);
  }
  return values;
}

}  // namespace

Sweep parse_sweep(const std::string& text) {
  const std::size_t equals = text.find('=');
  Sweep sweep{.name = text.substr(0, equals), .values = {}};
  if (equals == std::string::npos || std::ranges::find(kCoefficients, sweep.name) == std::end(kCoefficients))
    fail(ErrorKind::usage, "--sweep is '", text,
         "'; expected alpha, beta, scale or t, =, and values: alpha=0,0.5,1 or ", "scale=0.1:1:0.1");
  const std::string values = text.substr(equals + 1);
  if (const auto words = split(values, ':'); words.size() == 3) {
    sweep.values = range(words);
  } else {
    for (const std::string& word : split(values, ',')) sweep.values.push_back(parse_number(word, "--sweep"));
  }
  if (sweep.values.empty()) fail(ErrorKind::usage, "--sweep ", text, ": there is no value");
  return sweep;
}

SweepResult run_sweep(const SweepOptions& options, const Sweep& sweep, const merge::MergePlan& plan,
                      const std::function<merge::MergePlan(double)>& at, const Placement& placement) {
  const merge::Slice& slice = plan.request.slices.front();
  if (plan.request.slices.size() > 1 || !slice.base)
    fail(ErrorKind::usage, "--sweep holds merged models against the base and the tuned ones, which slices and merges ",
         "without a base do not have");
  if (options.targets.size() != 1 && options.targets.size() != slice.operands.size())
    fail(ErrorKind::usage, "--target names ", options.targets.size(), " texts for ", slice.operands.size(),
         " models; expected one, or one each");
  const Model base = alone(plan, slice.base->model, placement);
  const Texts texts(options, plan.request.models[plan.request.reference], base.config());
  const SweepFigures of_base = texts.measure(base);
  SweepScore score{.weight = options.target_weight, .tuned = {}, .base = of_base.control};
  Json json = {{"coefficient", sweep.name},
               {"texts", texts.description(of_base)},
               {"base", figures_json(of_base)},
               {"tuned", Json::array()},
               {"rows", Json::array()}};
  score.tuned.resize(options.targets.size());
  for (std::size_t i = 0; i < slice.operands.size(); ++i) {
    const SweepFigures tuned = texts.measure(alone(plan, slice.operands[i].model, placement));
    const std::size_t target = std::min(i, options.targets.size() - 1);  // of one text for all, the best of them
    PerplexityResult& held = score.tuned[target];
    if (held.windows == 0 || tuned.targets[target].value < held.value) held = tuned.targets[target];
    json["tuned"].push_back({{"model", plan.request.models[slice.operands[i].model].name}});
    json["tuned"].back().update(figures_json(tuned));
  }
  SweepResult result;
  double highest = 0;
  std::vector<SweepFigures> tried;
  Progress progress("trying coefficients", static_cast<std::int64_t>(sweep.values.size()), "models");
  for (std::size_t i = 0; i < sweep.values.size(); ++i) {
    tried.push_back(texts.measure(merge::view(at(sweep.values[i]), placement)));
    const double value = score.of(tried.back());
    if (value > highest) {
      highest = value;
      result.best = i;
    }
    json["rows"].push_back({{"value", sweep.values[i]}, {"score", value}});
    json["rows"].back().update(figures_json(tried.back()));
    progress.advance(1);
  }
  json["best"] = sweep.values[result.best];
  json["within_error"] = within_error(score, tried, sweep, result.best);
  result.json = std::move(json);
  return result;
}

namespace {

std::string coefficient_text(const Json& value) {
  std::ostringstream text;
  text << value.get<double>();
  return text.str();
}

std::string perplexity_cell(const Json& value, const Json& error) {
  return perplexity_text(value.get<double>(), error.is_null() ? std::nullopt : std::optional(error.get<double>()));
}

std::vector<std::string> sweep_row(const std::string& name, const Json& measured) {
  std::vector<std::string> row = {name};
  const Json& errors = measured["standard_errors"];
  for (std::size_t i = 0; i < measured["targets"].size(); ++i)
    row.push_back(perplexity_cell(measured["targets"][i], errors["targets"][i]));
  if (!measured["control"].is_null()) row.push_back(perplexity_cell(measured["control"], errors["control"]));
  row.push_back(measured.contains("score") ? fixed(measured["score"].get<double>(), 3) : "-");
  return row;
}

// How sure the best is.
std::string doubt_text(const Json& sweep) {
  const Json& alike = sweep["within_error"];
  if (alike.is_null())
    return "; of fewer than " + std::to_string(kFewestPairs) +
           " windows of a text nobody can tell whether it is by more than chance";
  std::string values;
  for (const Json& value : alike) values += (values.empty() ? "" : ", ") + coefficient_text(value);
  return values.empty() ? "" : "; within the error of it (paired, window by window): " + values;
}

}  // namespace

std::string sweep_text(const Json& sweep) {
  const std::size_t targets = sweep["texts"]["targets"].size();
  std::vector<std::string> heading = {"perplexity on"};
  for (std::size_t i = 0; i < targets; ++i)
    heading.push_back("target" + (targets > 1 ? " " + std::to_string(i + 1) : ""));
  if (!sweep["texts"]["control"].is_null()) heading.emplace_back("control");
  heading.emplace_back("score");
  std::vector<std::vector<std::string>> rows = {heading, sweep_row("base", sweep["base"])};
  for (const Json& tuned : sweep["tuned"])
    rows.push_back(sweep_row(std::filesystem::path(tuned["model"].get<std::string>()).filename().string(), tuned));
  const auto coefficient = sweep["coefficient"].get<std::string>();
  for (const Json& tried : sweep["rows"])
    rows.push_back(sweep_row(coefficient + " " + coefficient_text(tried["value"]), tried));
  std::string text = format_table(rows);
  for (std::size_t i = 0; i < sweep["texts"]["read"].size(); ++i) {
    const Json& read = sweep["texts"]["read"][i];
    text += heading[i + 1] + ": " + read["source"].get<std::string>() + ", " + windows_text(read) + "\n";
  }
  if (text.find("±") != std::string::npos) text += "± one standard error\n";
  return text + "best: " + coefficient + " " + coefficient_text(sweep["best"]) + doubt_text(sweep) + "\n";
}

}  // namespace streamline::cli
