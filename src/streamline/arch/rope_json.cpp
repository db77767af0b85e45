// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/rope_json.h"

#include <cmath>
#include <iterator>

#include "streamline/arch/json_edit.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

struct ScalingName {
  std::string_view name;
  RopeScaling scaling;
};
constexpr ScalingName kScalings[] = {{"default", RopeScaling::none},
                                     {"linear", RopeScaling::linear},
                                     {"dynamic", RopeScaling::dynamic},
                                     {"llama3", RopeScaling::llama3}};

// The object that transformers 5 uses: `rope_scaling` replaces `rope_parameters` whole, unless it is null or empty.
Json effective_parameters(const Json& config, const std::string& where) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) continue;
    if (!found->is_object()) fail(ErrorKind::format, where, ": '", key, "' is not an object");
    if (!found->empty()) return *found;
  }
  return Json::object();
}

std::string type_of(const Json& parameters, const std::string& where) {
  if (const auto type = json_string(parameters, "rope_type", where)) return *type;
  return json_string(parameters, "type", where).value_or("default");
}

RopeScaling parse_scaling(const Json& parameters, const std::string& where) {
  for (const char* kind : {"full_attention", "sliding_attention"})
    if (parameters.contains(kind))
      fail(ErrorKind::unsupported, where, ": 'rope_parameters' with settings per layer type ('", kind,
           "') is not supported");
  const std::string type = type_of(parameters, where);
  for (const ScalingName& candidate : kScalings)
    if (candidate.name == type) return candidate.scaling;
  fail(ErrorKind::unsupported, where, ": the RoPE type '", type,
       "' (rope_type) is not supported; supported are default, linear, dynamic, llama3");
}

double positive(const Json& object, std::string_view key, std::optional<double> otherwise, const std::string& where) {
  const std::optional<double> value = json_number(object, key, where);
  if (!value && !otherwise) fail(ErrorKind::format, where, ": the RoPE settings lack '", key, "'");
  const double number = value.value_or(otherwise.value_or(0));
  if (!std::isfinite(number) || number <= 0)
    fail(ErrorKind::format, where, ": '", key, "' is ", number, "; expected a positive number");
  return number;
}

Json effective_theta(const Json& config, const Json& parameters) {
  for (const Json* object : {&parameters, &config})
    if (const auto theta = object->find("rope_theta"); theta != object->end() && !theta->is_null()) return *theta;
  return nullptr;
}

void check_whole_head_rotates(const Json& object, const std::string& where) {
  const double share = json_number(object, "partial_rotary_factor", where).value_or(1);
  if (share != 1)
    fail(ErrorKind::unsupported, where, ": 'partial_rotary_factor' is ", share, "; only 1 is supported in this family");
}

std::int64_t original_positions(const Json& config, const Json& parameters, std::int64_t max_positions,
                                const std::string& where) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  const auto inner = json_integer(parameters, kKey, where), outer = json_integer(config, kKey, where);
  if (inner && outer && *inner != *outer)
    fail(ErrorKind::mismatch, where, ": '", kKey, "' is ", *outer, " but ", *inner, " among the RoPE settings");
  const std::int64_t positions = inner.value_or(outer.value_or(max_positions));
  if (positions < 1) fail(ErrorKind::format, where, ": '", kKey, "' is ", positions, "; expected 1 or more");
  return positions;
}

}  // namespace

RopeConfig rope_from_json(const Family& family, const Json& config, std::int64_t max_positions,
                          const std::string& where) {
  const Json parameters = effective_parameters(config, where);
  check_whole_head_rotates(config, where);
  check_whole_head_rotates(parameters, where);
  RopeConfig rope;
  rope.scaling = parse_scaling(parameters, where);
  Json theta_holder = Json::object();
  theta_holder["rope_theta"] = effective_theta(config, parameters);
  rope.theta = positive(theta_holder, "rope_theta", family.defaults.rope_theta, where);
  if (rope.scaling != RopeScaling::none) rope.factor = positive(parameters, "factor", std::nullopt, where);
  // transformers scales the base by the sequence length over max_position_embeddings, not the original's.
  if (rope.scaling == RopeScaling::dynamic) rope.original_max_positions = max_positions;
  if (rope.scaling == RopeScaling::llama3) {
    rope.low_frequency_factor = positive(parameters, "low_freq_factor", std::nullopt, where);
    rope.high_frequency_factor = positive(parameters, "high_freq_factor", std::nullopt, where);
    rope.original_max_positions = original_positions(config, parameters, max_positions, where);
    if (rope.low_frequency_factor >= rope.high_frequency_factor)
      fail(ErrorKind::format, where, ": 'low_freq_factor' must be below 'high_freq_factor'");
  }
  return rope;
}

void write_rope(const Config& source, Json& config) {
  const std::string where = "config.json";
  Json parameters = effective_parameters(config, where);
  Json theta = effective_theta(config, parameters);
  if (theta.is_null()) theta = source.rope.theta;
  parameters.erase("rope_theta");
  if (!parameters.contains("rope_type")) parameters["rope_type"] = type_of(parameters, where);
  if (source.rope.scaling == RopeScaling::llama3)
    parameters["original_max_position_embeddings"] = source.rope.original_max_positions;
  const bool scaled = source.rope.scaling != RopeScaling::none;
  set_beside(config, "rope_theta", theta, {"rope_scaling", "rope_parameters"});
  set_beside(config, "rope_scaling", scaled ? parameters : Json(nullptr), {"rope_theta", "rope_parameters"});
  parameters["rope_theta"] = theta;
  set_beside(config, "rope_parameters", parameters, {"rope_theta", "rope_scaling"});
}

}  // namespace streamline
