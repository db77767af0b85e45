// SPDX-License-Identifier: Apache-2.0
#include "compare_models.h"

#include <charconv>
#include <filesystem>

#include "plan_option.h"
#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/prune/method.h"

namespace streamline::cli {
namespace {

std::string short_name(const std::string& path) {
  const std::filesystem::path trimmed = std::filesystem::path(path + "/").parent_path();
  return trimmed.filename().empty() ? path : trimmed.filename().string();
}

// "dropped layers 5..6 (of 12)", where the checkpoint says how it was made.
void add_own_plan(const std::string& path, Json& about) {
  const std::filesystem::path file = std::filesystem::path(path) / "streamline" / "plan.json";
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) return;
  try {
    about["cut"] = summary(plan_from_json(parse_json(read_text(file), file.string()), file.string()));
  } catch (const Error& unreadable) {
    log_warning("what was cut is not told: " + std::string(unreadable.what()));
  }
}

// Names tell the models apart: a second "smaller" becomes "smaller (2)".
void make_unique(std::vector<ComparedModel>& models) {
  for (std::size_t i = 0; i < models.size(); ++i) {
    int count = 1;
    const std::string name = models[i].name;
    for (std::size_t k = 0; k < i; ++k)
      if (models[k].name == models[i].name) models[i].name = name + " (" + std::to_string(++count) + ")";
  }
}

std::vector<std::int64_t> sizes(const std::vector<std::string>& words) {
  std::vector<std::int64_t> result;
  for (const std::string& word : words) {
    std::int64_t size = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), size);
    if (error != std::errc() || end != word.data() + word.size() || size < 1)
      fail(ErrorKind::usage, "--layers ", word, ": numbers of layers, e.g. 2,4,8");
    result.push_back(size);
  }
  return result;
}

struct NamedMethod {
  const Method* method = nullptr;
  bool by_name = true;  // else one of "all", which need not all fit the model
};

std::vector<NamedMethod> named_methods(const std::vector<std::string>& names) {
  std::vector<NamedMethod> result;
  for (const std::string& name : names) {
    if (name != "all") {
      result.push_back({&find_method(name)});
      continue;
    }
    for (const Method* method : methods()) result.push_back({method, false});
  }
  return result;
}

// What a method proposes; nothing, with a warning, where one of "all" cannot do it to this model.
std::optional<Proposal> propose(const NamedMethod& named, PruneContext& context, std::int64_t layers) {
  const Method& method = *named.method;
  try {
    return method.propose(context, resolve_params(method.params, {{"layers", layers}}, "streamline compare"));
  } catch (const Error& error) {
    const bool fits = error.kind() != ErrorKind::usage && error.kind() != ErrorKind::unsupported;
    if (named.by_name || fits) throw;
    log_warning("left out " + std::string(method.name) + " at " + std::to_string(layers) + ": " + error.what());
    return std::nullopt;
  }
}

// Every method at every size, without a replacement, from one pass over the text.
void add_method_views(const CompareModelOptions& options, std::uint64_t seed, std::vector<ComparedModel>& result) {
  if (options.methods.empty() && options.layers.empty()) return;
  if (options.methods.empty() || options.layers.empty() || options.data.path.empty())
    fail(ErrorKind::usage, "a sweep over methods needs --methods, --layers and --data");
  const std::vector<std::int64_t> layer_counts = sizes(options.layers);
  const std::shared_ptr<const OpenedModel> source = result.front().opened;
  const TokenBatches calibration = load_calibration(*source, options.data);
  std::optional<Scores> scores;
  for (const NamedMethod& named : named_methods(options.methods))
    for (const std::int64_t count : layer_counts) {
      PruneContext context{.model = source->model, .calibration = calibration, .seed = seed};
      if (scores) context.scores = &*scores;
      context.sweep.label = "scoring";
      context.sweep.beyond_positions = true;
      std::optional<Proposal> proposed = propose(named, context, count);
      if (!proposed) continue;
      Proposal& proposal = *proposed;
      const Method* method = named.method;
      for (const std::string& warning : proposal.warnings) log_warning(warning);
      if (!scores && proposal.scores.layers > 0) scores = std::move(proposal.scores);
      const Json plan = to_json(proposal.plan);
      result.push_back(
          {.name = std::string(method->name) + " -" + std::to_string(count) + (count == 1 ? " layer" : " layers"),
           .opened = source,
           .model = source->model.view(proposal.plan, proposal.replacements),
           .about =
               {{"method", method->name}, {"layers_removed", count}, {"cut", summary(proposal.plan)}, {"plan", plan}},
           .plan_digest = sha256(dump_json(plan)),
           .warnings = proposal.warnings});
    }
}

}  // namespace

std::vector<ComparedModel> open_compared(const CompareModelOptions& options, const Placement& placement,
                                         std::uint64_t seed) {
  if (options.models.empty()) fail(ErrorKind::usage, "name the models to compare; the first is the source");
  std::vector<ComparedModel> result;
  for (const std::string& path : options.models) {
    const auto opened = std::make_shared<const OpenedModel>(open_model(path, placement));
    result.push_back({.name = short_name(path), .opened = opened, .model = opened->model, .about = {{"path", path}}});
    add_own_plan(path, result.back().about);
  }
  const std::shared_ptr<const OpenedModel> source = result.front().opened;
  for (const std::string& path : options.plans) {
    const PlannedSurgery surgery = open_plan(path, source->model, seed);
    result.push_back({.name = short_name(path),
                      .opened = source,
                      .model = source->model.view(surgery.plan, surgery.replacements),
                      .about = {{"plan_file", path}, {"cut", summary(surgery.plan)}, {"plan", to_json(surgery.plan)}},
                      .plan_digest = digest(surgery)});
  }
  add_method_views(options, seed, result);
  if (result.size() < 2)
    fail(ErrorKind::usage, "one model alone compares to nothing; name another, a --plan, or --methods with --layers");
  make_unique(result);
  return result;
}

}  // namespace streamline::cli
