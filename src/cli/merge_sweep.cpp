// SPDX-License-Identifier: Apache-2.0
#include "merge_sweep.h"

#include <cmath>
#include <filesystem>
#include <iomanip>
#include <sstream>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/perplexity_text.h"
#include "streamline/eval/perplexity.h"
#include "streamline/merge/view.h"

namespace streamline::cli {
namespace {

constexpr std::string_view kCoefficients[] = {"alpha", "beta", "scale", "t"};
constexpr std::size_t kMostValues = 1000;
constexpr int kNameWidth = 24;

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

// Perplexities of one model on the texts of the sweep.
class Texts {
 public:
  Texts(const SweepOptions& options, const merge::Source& reference, const Config& config)
      : tokenizer_(open_tokenizer(reference.checkpoint->files())) {
    perplexity_.bos = resolve_bos("auto", *tokenizer_);
    perplexity_.window = resolve_seq_len(config, options.window, Longer::refused, perplexity_.bos, "--window");
    perplexity_.max_windows = options.windows;
    for (const std::string& target : options.targets)
      targets_.push_back(load_evaluation_text(target, options.corpus, *tokenizer_));
    if (!options.control.empty()) control_ = load_evaluation_text(options.control, options.corpus, *tokenizer_);
  }

  Json description() const {
    Json names = Json::array();
    for (const EvaluationText& text : targets_) names.push_back(text.source);
    return {{"targets", names},
            {"control", control_ ? Json(control_->source) : Json()},
            {"window", perplexity_.window},
            {"windows", perplexity_.max_windows}};
  }
  std::vector<double> targets(const Model& model) const {
    std::vector<double> values;
    for (const EvaluationText& text : targets_) values.push_back(measured(model, text));
    return values;
  }
  std::optional<double> control(const Model& model) const {
    return control_ ? std::optional(measured(model, *control_)) : std::nullopt;
  }

 private:
  double measured(const Model& model, const EvaluationText& text) const {
    return perplexity(model, text, perplexity_, tokenizer_->bos()).value;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  PerplexityOptions perplexity_;
  std::vector<EvaluationText> targets_;
  std::optional<EvaluationText> control_;
};

// One of the models of a plan with one slice, as it is.
Model alone(const merge::MergePlan& plan, std::size_t model, const Placement& placement) {
  merge::Request request{.rule = &merge::find_rule("passthrough"), .models = {plan.request.models[model]}};
  request.slices = merge::whole_models(request.models, {0}, std::nullopt);
  request.parameters = [](const merge::Place&) { return merge::Parameters{.weights = {1}, .densities = {1}}; };
  return merge::view(merge::plan_merge(std::move(request)), placement);
}

struct Score {
  const SweepOptions& options;
  std::vector<double> tuned;   // each target by the model that was tuned for it
  std::optional<double> base;  // the control by the base

  double of(const std::vector<double>& targets, const std::optional<double>& control) const {
    double kept = 0;
    for (std::size_t i = 0; i < targets.size(); ++i) kept += tuned[i] / targets[i];
    kept /= static_cast<double>(targets.size());
    return control ? options.target_weight * kept + *base / *control : kept;
  }
};

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
  Score score{.options = options, .tuned = {}, .base = texts.control(base)};
  Json json = {{"coefficient", sweep.name},
               {"texts", texts.description()},
               {"base", {{"targets", texts.targets(base)}, {"control", score.base ? Json(*score.base) : Json()}}},
               {"tuned", Json::array()},
               {"rows", Json::array()}};
  score.tuned.assign(options.targets.size(), std::numeric_limits<double>::infinity());
  for (std::size_t i = 0; i < slice.operands.size(); ++i) {
    const Model tuned = alone(plan, slice.operands[i].model, placement);
    const std::size_t target = std::min(i, options.targets.size() - 1);  // of one text for all, the best of them
    const std::vector<double> values = texts.targets(tuned);
    score.tuned[target] = std::min(score.tuned[target], values[target]);
    const auto control = texts.control(tuned);
    json["tuned"].push_back({{"model", plan.request.models[slice.operands[i].model].name},
                             {"targets", values},
                             {"control", control ? Json(*control) : Json()}});
  }
  SweepResult result;
  double highest = 0;
  Progress progress("trying coefficients", static_cast<std::int64_t>(sweep.values.size()), "models");
  for (std::size_t i = 0; i < sweep.values.size(); ++i) {
    const Model merged = merge::view(at(sweep.values[i]), placement);
    const std::vector<double> targets = texts.targets(merged);
    const std::optional<double> control = texts.control(merged);
    const double value = score.of(targets, control);
    if (value > highest) {
      highest = value;
      result.best = i;
    }
    json["rows"].push_back({{"value", sweep.values[i]},
                            {"targets", targets},
                            {"control", control ? Json(*control) : Json()},
                            {"score", value}});
    progress.advance(1);
  }
  json["best"] = sweep.values[result.best];
  result.json = std::move(json);
  return result;
}

std::string sweep_text(const Json& sweep) {
  std::ostringstream text;
  const std::size_t targets = sweep["texts"]["targets"].size();
  const bool controlled = !sweep["texts"]["control"].is_null();
  text << std::fixed << std::setprecision(3) << std::setw(kNameWidth) << "perplexity on";
  for (std::size_t i = 0; i < targets; ++i)
    text << std::setw(12) << "target" + (targets > 1 ? " " + std::to_string(i + 1) : "");
  text << (controlled ? "     control" : "") << "   score\n";
  const auto row = [&](const std::string& name, const Json& measured) {
    text << std::setw(kNameWidth) << name;
    for (const Json& value : measured["targets"]) text << std::setw(12) << perplexity_text(value.get<double>());
    if (!measured["control"].is_null()) text << std::setw(12) << perplexity_text(measured["control"].get<double>());
    if (measured.contains("score")) text << std::setw(8) << measured["score"].get<double>();
    text << "\n";
  };
  row("base", sweep["base"]);
  for (const Json& tuned : sweep["tuned"])
    row(std::filesystem::path(tuned["model"].get<std::string>()).filename().string(), tuned);
  for (const Json& tried : sweep["rows"]) {
    std::ostringstream name;
    name << sweep["coefficient"].get<std::string>() << " " << tried["value"].get<double>();
    row(name.str(), tried);
  }
  text << "best: " << sweep["coefficient"].get<std::string>() << " " << sweep["best"].get<double>() << "\n";
  return text.str();
}

}  // namespace streamline::cli
