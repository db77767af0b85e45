// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/module_lists.h"

#include <algorithm>
#include <array>
#include <regex>

#include "streamline/arch/quantization.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::size_t kMaxToken = 400;

bool is_digits(std::string_view text) {
  return !text.empty() && text.size() <= 9 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// compressed-tensors marks regular expressions with "re:", GPTQModel its rules with a sign.
bool is_regex(std::string_view module) {
  return module.starts_with("re:") || module.starts_with("+:") || module.starts_with("-:") ||
         module.find('\\') != std::string_view::npos;
}

// Where a module speaks of the layer: the number, or the pattern that stands for numbers.
struct LayerToken {
  std::size_t begin = 0, end = 0;
};

// The end of a token: a dot outside brackets, escaped or not, or the end of the name.
std::size_t token_end(std::string_view module, std::size_t begin, bool regex) {
  int depth = 0;
  for (std::size_t i = begin; i < module.size(); ++i) {
    const char c = module[i];
    if (regex && c == '\\' && i + 1 < module.size()) {
      if (module[i + 1] == '.' && depth == 0) return i;
      ++i;
    } else if (c == '(' || c == '[') {
      ++depth;
    } else if (depth > 0 && (c == ')' || c == ']')) {
      --depth;
    } else if (depth == 0 && (c == '.' || c == '$' || c == '/' || c == ')' || c == '|')) {
      return i;
    }
  }
  return module.size();
}

// "layers" of the prefix "model.layers.".
std::string_view last_component(std::string_view prefix) {
  prefix.remove_suffix(1);
  const std::size_t dot = prefix.rfind('.');
  return dot == std::string_view::npos ? prefix : prefix.substr(dot + 1);
}

// The first at or behind `from`.
std::optional<LayerToken> find_token(std::string_view module, std::size_t from, const LayerStack& stack, bool regex) {
  const std::string_view name = last_component(stack.prefix);
  for (std::size_t at = module.find(name, from); at != std::string_view::npos; at = module.find(name, at + 1)) {
    const std::string_view before = module.substr(0, at);
    if (!before.empty() && (std::isalnum(static_cast<unsigned char>(before.back())) != 0 || before.back() == '_'))
      continue;
    if (names_tower(before)) return std::nullopt;
    const std::string_view behind = module.substr(at + name.size());
    const bool wildcard =
        regex && behind.size() > 1 && std::string_view("*+?{").find(behind[1]) != std::string_view::npos;
    const std::size_t dot = regex && behind.starts_with("\\.") ? 2 : behind.starts_with(".") && !wildcard ? 1 : 0;
    const std::size_t begin = at + name.size() + dot;
    if (const std::size_t end = token_end(module, begin, regex); dot > 0 && end > begin) return LayerToken{begin, end};
  }
  return std::nullopt;  // none, or ".*" and the like: all layers
}

// Whether a shell's pattern of '*' and '?' covers the whole text.
bool glob_matches(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  while (pattern.starts_with("**")) pattern.remove_prefix(1);
  if (pattern[0] == '*')
    return glob_matches(pattern.substr(1), text) || (!text.empty() && glob_matches(pattern, text.substr(1)));
  return !text.empty() && (pattern[0] == '?' || pattern[0] == text[0]) &&
         glob_matches(pattern.substr(1), text.substr(1));
}

// The layers of the source that a token stands for.
std::vector<std::int64_t> layers_of(std::string_view token, const std::string& module, bool regex,
                                    std::int64_t layers) {
  std::vector<std::int64_t> found;
  if (token.size() > kMaxToken)
    fail(ErrorKind::unsupported, "config.json: the module pattern ", Json(module).dump().substr(0, 80),
         " is too long to tell which layers it means");
  try {
    const std::regex pattern(regex ? std::string(token) : std::string());
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      const std::string number = std::to_string(layer);
      if (regex ? std::regex_match(number, pattern) : glob_matches(token, number)) found.push_back(layer);
    }
  } catch (const std::regex_error&) {
    fail(ErrorKind::unsupported, "config.json: cannot tell which layers the module pattern ",
         Json(module).dump().substr(0, 80), " means; write one entry a layer");
  }
  return found;
}

std::string spliced(const std::string& module, LayerToken token, const std::string& replacement) {
  return module.substr(0, token.begin) + replacement + module.substr(token.end);
}

std::vector<std::int64_t> places_of(const std::vector<std::int64_t>& layers, const LayerMap& map) {
  std::vector<std::int64_t> places;
  for (const std::int64_t layer : layers)
    if (const auto place = map.place(layer)) places.push_back(*place);
  return places;
}

// A regular expression that matches these numbers; one that matches nothing where there are none.
std::string alternatives(const std::vector<std::int64_t>& places) {
  if (places.empty()) return "(?!)";
  std::string numbers;
  for (const std::int64_t place : places) numbers += (numbers.empty() ? "" : "|") + std::to_string(place);
  return places.size() == 1 ? numbers : "(?:" + numbers + ")";
}

std::vector<std::string> renumbered_regex(std::string module, const LayerStack& stack, const LayerMap& map) {
  bool speaks_of_layers = false, some_left = false;
  for (auto token = find_token(module, 0, stack, true); token;) {
    const std::vector<std::int64_t> layers =
        layers_of(std::string_view(module).substr(token->begin, token->end - token->begin), module, true, map.before);
    std::size_t next = token->end;
    if (static_cast<std::int64_t>(layers.size()) < map.before) {
      const std::vector<std::int64_t> places = places_of(layers, map);
      const std::string numbers = alternatives(places);
      module = spliced(module, *token, numbers);
      next = token->begin + numbers.size();
      some_left = some_left || !places.empty();
      speaks_of_layers = true;
    } else {
      some_left = true;
    }
    token = find_token(module, next, stack, true);
  }
  return speaks_of_layers && !some_left ? std::vector<std::string>{} : std::vector{module};
}

// A group without targets would be read as one for everything.
bool has_lost_targets(const Json& before, const Json& after) {
  return before.is_object() && after.is_object() && before.contains("targets") && before.at("targets").is_array() &&
         !before.at("targets").empty() && after.at("targets").empty();
}

}  // namespace

std::vector<std::string> renumbered_module(const std::string& module, const LayerStack& stack, const LayerMap& map) {
  if (is_regex(module)) return renumbered_regex(module, stack, map);
  const auto token = find_token(module, 0, stack, false);
  if (!token) return {module};
  const std::string text = module.substr(token->begin, token->end - token->begin);
  if (is_digits(text)) {
    const auto place = map.place(std::stoll(text));
    return place ? std::vector{spliced(module, *token, std::to_string(*place))} : std::vector<std::string>{};
  }
  if (text.find_first_of("*?") == std::string::npos) return {module};
  const std::vector<std::int64_t> layers = layers_of(text, module, false, map.before);
  if (static_cast<std::int64_t>(layers.size()) == map.before) return {module};
  // "layers.1*" would mean layer 10 too: the layer is spelt out, and what it holds follows a dot.
  std::vector<std::string> names;
  const std::string tail = token->end == module.size() ? ".*" : "";
  for (const std::int64_t place : places_of(layers, map))
    names.push_back(spliced(module, *token, std::to_string(place) + tail));
  return names;
}

Json renumbered_modules(const Json& json, const LayerStack& stack, const LayerMap& map) {
  if (json.is_array()) {
    Json list = Json::array();
    for (const Json& entry : json) {
      if (!entry.is_string()) {
        list.push_back(renumbered_modules(entry, stack, map));
        continue;
      }
      for (const std::string& name : renumbered_module(entry.get<std::string>(), stack, map)) list.push_back(name);
    }
    return list;
  }
  if (!json.is_object()) return json;
  Json object = Json::object();
  for (const auto& [key, value] : json.items()) {
    Json inner = renumbered_modules(value, stack, map);
    if (has_lost_targets(value, inner)) continue;
    for (const std::string& name : renumbered_module(key, stack, map)) object[name] = inner;
  }
  return object;
}

void renumber_quantization(Json& config, const LayerStack& stack, const LayerMap& map) {
  const auto rewrite = [&](Json& holder) {
    for (const std::string_view key : kQuantizationKeys)
      if (const auto found = holder.find(std::string(key)); found != holder.end() && found->is_object())
        *found = renumbered_modules(*found, stack, map);
  };
  rewrite(config);
  if (!stack.text_key.empty()) rewrite(text_config(config, stack));
}

}  // namespace streamline
