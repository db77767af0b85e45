// SPDX-License-Identifier: Apache-2.0
#include "compare_models.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "compare_methods.h"
#include "plan_option.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/base/unfinished.h"
#include "streamline/surgery/format.h"
#include "streamline/surgery/widths.h"

namespace streamline::cli {
namespace {

std::string short_name(const std::string& path) {
  const std::filesystem::path trimmed = std::filesystem::path(path + "/").parent_path();
  return trimmed.filename().empty() ? path : trimmed.filename().string();
}

// Plans in results are all called plan.json: they go by the result's name.
std::string short_plan_name(const std::string& plan) {
  const std::filesystem::path whole = whole_path(plan);
  if (whole.filename() != "plan.json") return short_name(plan);
  const std::filesystem::path folder = whole.parent_path(), above = folder.parent_path();
  const std::filesystem::path named = folder.filename() == "streamline" && above.has_filename() ? above : folder;
  return named.has_filename() ? named.filename().string() : short_name(plan);
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

// Runs say which model they came to by its name.
void name_models(const std::vector<ComparedModel>& models, std::size_t first, Json& calibration) {
  for (Json& entry : calibration)
    for (Json& run : entry["runs"]) run["model"] = models[first + run["model"].get<std::size_t>()].name;
}

}  // namespace

ComparedModels open_compared(const CompareModelOptions& options, const Placement& placement, std::uint64_t seed) {
  if (options.models.empty())
    fail(ErrorKind::usage, "name the models to compare, in front of the options; the first is the source");
  const Format format = parse_format(options.format);
  std::vector<ComparedModel> result;
  for (const std::string& path : options.models) {
    const auto opened = std::make_shared<const OpenedModel>(open_model(path, placement));
    result.push_back({.name = short_name(path), .opened = opened, .model = opened->model, .about = {{"path", path}}});
    add_own_plan(path, result.back().about);
  }
  const std::shared_ptr<const OpenedModel> source = result.front().opened;
  const LayerForm form = resolve_form(source->model.checkpoint(), source->model.config(), format);
  for (const std::string& path : options.plans) {
    const PlannedSurgery surgery = open_plan(path, source->model, seed);
    const Model masked = surgery.on(source->model);
    result.push_back({.name = short_plan_name(path),
                      .opened = source,
                      .model = masked.view(surgery.plan, surgery.replacements),
                      .written = written_view(masked, surgery.plan, surgery.replacements, form),
                      .about = {{"plan_file", path}, {"cut", summary(surgery.plan)}, {"plan", to_json(surgery.plan)}},
                      .plan_digest = digest(surgery)});
  }
  MethodViews views = method_views(options, source, form, seed);
  const std::size_t first = result.size();
  std::ranges::move(views.models, std::back_inserter(result));
  if (result.size() < 2)
    fail(ErrorKind::usage, "one model alone compares to nothing; name another, a --plan, or --methods with --layers");
  make_unique(result);
  name_models(result, first, views.calibration);
  return {std::move(result), std::move(views.calibration), std::move(views.warnings), std::move(views.looked_at)};
}

}  // namespace streamline::cli
