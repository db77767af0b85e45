// SPDX-License-Identifier: Apache-2.0
// How a plan is written and read: plan.json, version 1, 2 where it slices, or 3 where it masks (docs/formats.md).
// Unknown keys are errors, so that a plan of a later version is never carried out in part.
#include <algorithm>
#include <array>
#include <initializer_list>
#include <tuple>
#include <utility>

#include "streamline/base/error.h"
#include "streamline/base/json_fields.h"
#include "streamline/plan/plan.h"
#include "streamline/plan/slice.h"

namespace streamline {

namespace {

constexpr std::string_view kFormat = "streamline-plan";
constexpr std::int64_t kVersion = 1, kVersionWithSlices = 2, kVersionWithMasks = 3;

struct ActionName {
  Action action;
  std::string_view name;
};
constexpr std::array kActions = {
    ActionName{Action::keep, "keep"}, ActionName{Action::drop, "drop"}, ActionName{Action::replace, "replace"},
    ActionName{Action::drop_attention, "drop-attention"}, ActionName{Action::drop_mlp, "drop-mlp"}};

std::string_view action_name(Action action) {
  return std::find_if(kActions.begin(), kActions.end(), [&](const ActionName& a) { return a.action == action; })->name;
}

Action parse_action(const std::string& name, const std::string& where) {
  for (const ActionName& known : kActions) {
    if (known.name == name) return known.action;
  }
  fail(ErrorKind::format, where, ": 'action' is '", name,
       "'; expected keep, drop, replace, drop-attention or drop-mlp");
}

void check_object(const Json& json, const std::string& where, std::initializer_list<std::string_view> known) {
  if (!json.is_object()) fail(ErrorKind::format, where, " is not a JSON object");
  for (const auto& [key, value] : json.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail(ErrorKind::format, where, ": unknown key '", key, "'; was it written by a newer version?");
  }
}

std::string text_or_empty(const Json& json, const char* key, const std::string& where) {
  return json_string(json, key, where).value_or("");
}

Json object_or_empty(const Json& json, const char* key, const std::string& where) {
  const auto found = json.find(key);
  if (found == json.end()) return Json::object();
  if (!found->is_object()) fail(ErrorKind::format, where, ": '", key, "' is not an object");
  return *found;
}

PlanBase base_from_json(const Json& json, const std::string& where) {
  check_object(json, where, {"layers", "model", "digest"});
  return {.layers = required(json_integer(json, "layers", where), "layers", where),
          .model = text_or_empty(json, "model", where),
          .digest = text_or_empty(json, "digest", where)};
}

MethodUse method_from_json(const Json& json, const std::string& where) {
  check_object(json, where, {"name", "parameters", "calibration_digest", "seed"});
  MethodUse method{.name = required(json_string(json, "name", where), "name", where),
                   .parameters = object_or_empty(json, "parameters", where),
                   .calibration_digest = text_or_empty(json, "calibration_digest", where)};
  if (const auto seed = json.find("seed"); seed != json.end()) {
    if (!seed->is_number_unsigned()) fail(ErrorKind::format, where, ": 'seed' is not an unsigned 64-bit integer");
    method.seed = seed->get<std::uint64_t>();
  }
  return method;
}

// A file beside the plan.
std::pair<std::string, std::string> file_and_digest(const Json& json, const std::string& where) {
  check_object(json, where, {"file", "sha256"});
  return {required(json_string(json, "file", where), "file", where),
          required(json_string(json, "sha256", where), "sha256", where)};
}

Segment segment_from_json(const Json& json, const std::string& where) {
  check_object(json, where, {"first", "last", "action", "replacement", "weights"});
  Segment segment{.first = required(json_integer(json, "first", where), "first", where),
                  .last = required(json_integer(json, "last", where), "last", where),
                  .action = parse_action(required(json_string(json, "action", where), "action", where), where),
                  .replacement = text_or_empty(json, "replacement", where)};
  if (const auto weights = json.find("weights"); weights != json.end()) {
    const std::string inside = where + ".weights";
    std::tie(segment.weights_file, segment.weights_sha256) = file_and_digest(*weights, inside);
    if (segment.weights_file.empty()) fail(ErrorKind::format, inside, ": 'file' is empty");
  }
  return segment;
}

Json segment_to_json(const Segment& segment) {
  Json json = {{"first", segment.first}, {"last", segment.last}, {"action", action_name(segment.action)}};
  if (!segment.replacement.empty()) json["replacement"] = segment.replacement;
  if (!segment.weights_file.empty())
    json["weights"] = {{"file", segment.weights_file}, {"sha256", segment.weights_sha256}};
  return json;
}

std::int64_t version_of(const Plan& plan) {
  if (plan.masks) return kVersionWithMasks;
  return plan.slices.empty() ? kVersion : kVersionWithSlices;
}

void check_version(const Json& json, const std::string& where) {
  if (required(json_string(json, "format", where), "format", where) != kFormat)
    fail(ErrorKind::format, where, ": 'format' is not '", kFormat, "'; this is not a plan");
  const std::int64_t version = required(json_integer(json, "version", where), "version", where);
  if (version < kVersion || version > kVersionWithMasks)
    fail(ErrorKind::format, where, ": plan version ", version, "; this program reads versions ", kVersion, " to ",
         kVersionWithMasks);
  for (const auto& [key, since] : {std::pair("slices", kVersionWithSlices), {"masks", kVersionWithMasks}})
    if (version < since && json.contains(key))
      fail(ErrorKind::format, where, ": '", key, "' came with plan version ", since, "; this is version ", version);
}

}  // namespace

Json to_json(const Plan& plan) {
  Json segments = Json::array();
  for (const Segment& segment : plan.segments) segments.push_back(segment_to_json(segment));
  Json json = {{"format", kFormat},
               {"version", version_of(plan)},
               {"base", {{"layers", plan.base.layers}, {"model", plan.base.model}, {"digest", plan.base.digest}}},
               {"method",
                {{"name", plan.method.name},
                 {"parameters", plan.method.parameters},
                 {"calibration_digest", plan.method.calibration_digest},
                 {"seed", plan.method.seed}}},
               {"segments", std::move(segments)}};
  if (!plan.slices.empty()) json["slices"] = slices_to_json(plan.slices);
  if (plan.masks) json["masks"] = {{"file", plan.masks->file}, {"sha256", plan.masks->sha256}};
  json["scores"] = plan.scores;
  return json;
}

Plan plan_from_json(const Json& json, const std::string& where) {
  if (!json.is_object()) fail(ErrorKind::format, where, " is not a JSON object");
  // What `prune --json` prints, and a result's report.json, have the plan inside.
  if (json.contains("plan") && json.contains("run") && !json.contains("segments"))
    return plan_from_json(json["plan"], where + ": plan");
  check_version(json, where);
  check_object(json, where, {"format", "version", "base", "method", "segments", "slices", "masks", "scores"});
  Plan plan{.base = base_from_json(json_member(json, "base", where), where + ": base"),
            .method = method_from_json(json_member(json, "method", where), where + ": method"),
            .scores = object_or_empty(json, "scores", where)};
  const Json& segments = json_array(json, "segments", where);
  for (std::size_t i = 0; i < segments.size(); ++i)
    plan.segments.push_back(segment_from_json(segments[i], where + ": segments[" + std::to_string(i) + "]"));
  if (const auto slices = json.find("slices"); slices != json.end())
    plan.slices = slices_from_json(*slices, where + ": slices");
  if (const auto masks = json.find("masks"); masks != json.end()) {
    const auto [file, sha256] = file_and_digest(*masks, where + ": masks");
    plan.masks = PlanMasks{.file = file, .sha256 = sha256};
  }
  try {
    validate(plan);
  } catch (const Error& error) {
    fail(ErrorKind::format, where, ": ", error.what());
  }
  return plan;
}

}  // namespace streamline
