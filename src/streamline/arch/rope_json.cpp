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
                                     {"llama3", RopeScaling::llama3},
                                     {"yarn", RopeScaling::yarn},
                                     {"longrope", RopeScaling::longrope},
                                     {"su", RopeScaling::longrope},
                                     // A position for time, height and width each; in text the three are one.
                                     {"mrope", RopeScaling::none}};
constexpr const char* kFull = "full_attention";
constexpr const char* kSliding = "sliding_attention";

bool has_two(const Family& family) { return family.traits.rope == RopeRule::local_in_sliding; }

// The object under `key`, or nullptr when it is absent, null or empty.
const Json* find_object(const Json& holder, const char* key, const std::string& where) {
  const auto found = holder.find(key);
  if (found == holder.end() || found->is_null()) return nullptr;
  if (!found->is_object()) fail(ErrorKind::format, where, ": '", key, "' is not an object");
  return found->empty() ? nullptr : &*found;
}

// The object that transformers 5 uses: `rope_scaling` replaces `rope_parameters` whole, unless it is null or empty.
Json single_parameters(const Json& config, const std::string& where) {
  for (const char* key : {"rope_scaling", "rope_parameters"})
    if (const Json* found = find_object(config, key, where)) {
      for (const char* kind : {kFull, kSliding})
        if (found->contains(kind))
          fail(ErrorKind::unsupported, where, ": 'rope_parameters' with settings per layer type ('", kind,
               "') is not supported in this family");
      return *found;
    }
  return Json::object();
}

// Of a family that has two: `rope_parameters` has an object for each kind of layer, and `rope_scaling` is merged into
// that of the full ones.
Json nested_parameters(const Json& config, const char* kind, const std::string& where) {
  Json parameters = Json::object();
  if (const Json* all = find_object(config, "rope_parameters", where)) {
    if (!all->contains(kFull) && !all->contains(kSliding))
      fail(ErrorKind::unsupported, where, ": 'rope_parameters' lacks '", kFull, "' and '", kSliding, "'");
    if (const Json* found = find_object(*all, kind, where)) parameters = *found;
  }
  const Json* scaling = kind == kFull ? find_object(config, "rope_scaling", where) : nullptr;
  if (scaling) parameters.update(*scaling);
  return parameters;
}

Json global_parameters(const Family& family, const Json& config, const std::string& where) {
  return has_two(family) ? nested_parameters(config, kFull, where) : single_parameters(config, where);
}

std::string type_of(const Json& parameters, const std::string& where) {
  if (const auto type = json_string(parameters, "rope_type", where)) return *type;
  return json_string(parameters, "type", where).value_or("default");
}

RopeScaling parse_scaling(const Json& parameters, const std::string& where) {
  std::string type = type_of(parameters, where);
  if (type == "yarn" && parameters.contains("long_factor")) type = "longrope";  // how early Phi-3 files call it
  for (const ScalingName& candidate : kScalings)
    if (candidate.name == type) return candidate.scaling;
  fail(ErrorKind::unsupported, where, ": the RoPE type '", type,
       "' (rope_type) is not supported; supported are default, linear, dynamic, llama3, yarn, longrope");
}

double positive(const Json& object, std::string_view key, std::optional<double> otherwise, const std::string& where) {
  const std::optional<double> value = json_number(object, key, where);
  if (!value && !otherwise) fail(ErrorKind::format, where, ": the RoPE settings lack '", key, "'");
  const double number = value.value_or(otherwise.value_or(0));
  if (!std::isfinite(number) || number <= 0)
    fail(ErrorKind::format, where, ": '", key, "' is ", number, "; expected a positive number");
  return number;
}

// Of two spellings, that of transformers 5 first.
Json first_present(const Json& parameters, std::string_view new_key, const Json& config, std::string_view old_key) {
  const auto find = [](const Json& object, std::string_view key) {
    const auto found = key.empty() ? object.end() : object.find(std::string(key));
    return found == object.end() ? Json(nullptr) : *found;
  };
  const Json value = find(parameters, new_key);
  return value.is_null() ? find(config, old_key) : value;
}

double positive_value(const Json& value, std::string_view key, double otherwise, const std::string& where) {
  Json holder = Json::object();
  holder[std::string(key)] = value;
  return positive(holder, key, otherwise, where);
}

double read_theta(const Json& parameters, const Json& config, std::string_view key, double otherwise,
                  const std::string& where) {
  return positive_value(first_present(parameters, "rope_theta", config, key), "rope_theta", otherwise, where);
}

// The share of a head that turns; 1 in families that turn all of it, where another value is an error.
double read_share(const Family& family, const Json& config, const Json& parameters, const std::string& where) {
  constexpr std::string_view kKey = "partial_rotary_factor";
  const std::string_view own = family.keys.rotary_share;
  for (const Json* object : {&config, &parameters})
    if (const double share = json_number(*object, kKey, where).value_or(1); own.empty() && share != 1)
      fail(ErrorKind::unsupported, where, ": '", kKey, "' is ", share, "; only 1 is supported in this family");
  if (own.empty()) return 1;
  const double share =
      positive_value(first_present(parameters, kKey, config, own), own, family.defaults.rotary_share, where);
  if (share > 1) fail(ErrorKind::format, where, ": '", own, "' is ", share, "; expected at most 1");
  return share;
}

// What YaRN (Peng et al., arXiv 2309.00071, eq. 22) recommends for the turned components where the file says nothing.
double yarn_attention_factor(const Json& parameters, double factor, const std::string& where) {
  const auto recommended = [&](double weight) { return factor <= 1 ? 1 : 0.1 * weight * std::log(factor) + 1; };
  const double above = json_number(parameters, "mscale", where).value_or(0);
  const double below = json_number(parameters, "mscale_all_dim", where).value_or(0);
  const double otherwise = above != 0 && below != 0 ? recommended(above) / recommended(below) : recommended(1);
  return positive(parameters, "attention_factor", otherwise, where);
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

std::vector<double> read_factors(const Json& parameters, const char* key, const std::string& where) {
  const auto found = parameters.find(key);
  if (found == parameters.end() || !found->is_array())
    fail(ErrorKind::format, where, ": '", key, "' is not a list of numbers, one a pair of components that turns");
  std::vector<double> factors;
  for (const Json& entry : *found) {
    Json holder = Json::object();
    holder[key] = entry;
    factors.push_back(positive(holder, key, std::nullopt, where));
  }
  return factors;
}

// LongRoPE as Phi-3 has it (arXiv 2404.14219): a factor a pair, and the turned components grow with the logarithm of
// how many times longer the context became.
void read_longrope(const Json& config, const Json& parameters, std::int64_t max_positions, RopeConfig& rope,
                   const std::string& where) {
  rope.original_max_positions = original_positions(config, parameters, max_positions, where);
  const auto original = static_cast<double>(rope.original_max_positions);
  const double longer = positive(parameters, "factor", static_cast<double>(max_positions) / original, where);
  const double otherwise = longer <= 1 ? 1 : std::sqrt(1 + std::log(longer) / std::log(original));
  rope.attention_factor = positive(parameters, "attention_factor", otherwise, where);
  rope.short_factors = read_factors(parameters, "short_factor", where);
  rope.long_factors = read_factors(parameters, "long_factor", where);
}

void read_scaling(const Json& config, const Json& parameters, std::int64_t max_positions, RopeConfig& rope,
                  const std::string& where) {
  if (rope.scaling == RopeScaling::longrope) return read_longrope(config, parameters, max_positions, rope, where);
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
  if (rope.scaling == RopeScaling::yarn) {
    rope.original_max_positions = original_positions(config, parameters, max_positions, where);
    rope.beta_fast = positive(parameters, "beta_fast", rope.beta_fast, where);
    rope.beta_slow = positive(parameters, "beta_slow", rope.beta_slow, where);
    rope.truncate = json_bool(parameters, "truncate", where).value_or(true);
    rope.attention_factor = yarn_attention_factor(parameters, rope.factor, where);
  }
}

RopeConfig read_rope(const Family& family, const Json& config, const Json& parameters, std::int64_t max_positions,
                     const std::string& where) {
  RopeConfig rope;
  rope.scaling = parse_scaling(parameters, where);
  rope.rotated_share = read_share(family, config, parameters, where);
  read_scaling(config, parameters, max_positions, rope, where);
  return rope;
}

// An object as transformers 5 writes it, with its type named for its readers.
Json named(Json parameters, const std::string& where) {
  const std::string type = type_of(parameters, where);
  if (!parameters.contains("rope_type") || type == "mrope")
    parameters["rope_type"] = type == "mrope" ? "default" : type;
  return parameters;
}

}  // namespace

RopeConfig rope_from_json(const Family& family, const Json& config, std::int64_t max_positions,
                          const std::string& where) {
  const Json parameters = global_parameters(family, config, where);
  RopeConfig rope = read_rope(family, config, parameters, max_positions, where);
  rope.theta = read_theta(parameters, config, family.keys.rope_theta, family.defaults.rope_theta, where);
  return rope;
}

std::optional<RopeConfig> local_rope_from_json(const Family& family, const Json& config, std::int64_t max_positions,
                                               const std::string& where) {
  if (!has_two(family)) return std::nullopt;
  const Json parameters = nested_parameters(config, kSliding, where);
  RopeConfig rope = read_rope(family, config, parameters, max_positions, where);
  rope.theta = read_theta(parameters, config, family.keys.local_rope_theta, family.defaults.local_rope_theta, where);
  return rope;
}

void write_rope(const Config& source, Json& config) {
  const std::string where = "config.json";
  const Family& family = *source.family;
  const ConfigKeys& keys = family.keys;
  Json parameters = named(global_parameters(family, config, where), where);
  Json theta = first_present(parameters, "rope_theta", config, keys.rope_theta);
  if (theta.is_null()) theta = source.rope.theta;
  parameters.erase("rope_theta");
  parameters.erase("partial_rotary_factor");
  if (source.rope.scaling == RopeScaling::llama3 || source.rope.scaling == RopeScaling::yarn ||
      source.rope.scaling == RopeScaling::longrope)
    parameters["original_max_position_embeddings"] = source.rope.original_max_positions;
  const bool scaled = source.rope.scaling != RopeScaling::none || parameters.contains("mrope_section");
  Json local = has_two(family) ? named(nested_parameters(config, kSliding, where), where) : Json(nullptr);
  Json local_theta = local.is_null() ? local : first_present(local, "rope_theta", config, keys.local_rope_theta);
  if (source.local_rope && local_theta.is_null()) local_theta = source.local_rope->theta;

  set_beside(config, keys.rope_theta, theta, {"rope_scaling", "rope_parameters"});
  if (!keys.local_rope_theta.empty()) set_beside(config, keys.local_rope_theta, local_theta, {keys.rope_theta});
  if (!keys.rotary_share.empty())
    set_beside(config, keys.rotary_share, source.rope.rotated_share, {keys.rope_theta, "rope_parameters"});
  set_beside(config, "rope_scaling", scaled ? parameters : Json(nullptr), {keys.rope_theta, "rope_parameters"});
  parameters["rope_theta"] = theta;
  if (!keys.rotary_share.empty()) parameters["partial_rotary_factor"] = source.rope.rotated_share;
  if (source.local_rope) {
    local["rope_theta"] = local_theta;
    parameters = Json{{kFull, parameters}, {kSliding, local}};
  }
  set_beside(config, "rope_parameters", parameters, {keys.rope_theta, "rope_scaling"});
}

}  // namespace streamline
