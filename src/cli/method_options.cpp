// SPDX-License-Identifier: Apache-2.0
#include "method_options.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "streamline/prune/method.h"

namespace streamline::cli {
namespace {

constexpr std::size_t kCommon = 7;  // methods: a parameter of so many stands among the common ones

// What is true for all methods of an option that means something else to many of them.
constexpr std::pair<std::string_view, const char*> kInGeneral[] = {
    {"layers",
     "layers fewer in the result, or parts of as many layers; `streamline list METHOD` says how each counts"}};

// One name, with the methods that have it and what it is to each of them.
struct MethodOption {
  std::string name;
  std::vector<const Method*> methods;
  std::vector<const Param*> params;
};

std::vector<MethodOption> method_options() {
  std::vector<MethodOption> options;
  for (const Method* method : methods())
    for (const Param& param : method->params) {
      auto found = std::ranges::find(options, param.name, &MethodOption::name);
      if (found == options.end()) found = options.insert(found, {.name = param.name, .methods = {}, .params = {}});
      found->methods.push_back(method);
      found->params.push_back(&param);
    }
  return options;
}

// "a, b or c".
std::string methods_named(const std::vector<const Method*>& methods) {
  std::string names;
  for (std::size_t i = 0; i < methods.size(); ++i)
    names += (i == 0 ? "" : i + 1 < methods.size() ? ", " : " or ") + std::string(methods[i]->name);
  return names;
}

// What it is to all methods, or to the first one, then what else it is to others.
std::string option_help(const MethodOption& option) {
  for (const auto& [name, help] : kInGeneral)
    if (option.name == name) return help;
  std::string help = option.params.front()->help;
  std::vector<std::string> told = {help};
  for (const Param* param : option.params) {
    if (std::ranges::find(told, param->help) != told.end()) continue;
    told.push_back(param->help);
    std::vector<const Method*> these;
    for (std::size_t i = 0; i < option.params.size(); ++i)
      if (option.params[i]->help == param->help) these.push_back(option.methods[i]);
    help += "; of " + methods_named(these) + ": " + param->help;
  }
  return help;
}

std::string one_of(const std::vector<std::string>& choices) {
  std::string words;
  for (const std::string& choice : choices) words += (words.empty() ? "" : ",") + choice;
  return "TEXT:{" + words + "}";
}

std::string option_type(const Param& param) {
  switch (param.type) {
    case ParamType::boolean:
      return one_of({"true", "false"});
    case ParamType::integer:
      return "INT";
    case ParamType::number:
      return "FLOAT";
    case ParamType::text:
      return param.choices.empty() ? "TEXT" : one_of(param.choices);
    case ParamType::integers:
      return "INT,...";
  }
  return "";
}

// As far as type and default are the same for all the methods.
std::string option_value(const MethodOption& option) {
  const Param& first = *option.params.front();
  const auto shared = [&](const auto member) {
    return std::ranges::all_of(option.params, [&](const Param* param) { return param->*member == first.*member; });
  };
  if (!shared(&Param::choices)) return "TEXT";
  return shared(&Param::default_value) ? cli::option_value(first) : option_type(first);
}

}  // namespace

std::string option_value(const Param& param) {
  const Json& value = param.default_value;
  if (value.is_null() || value.is_array()) return option_type(param);
  return option_type(param) + "=" + (value.is_string() ? value.get<std::string>() : value.dump());
}

void add_method_options(Arguments& arguments, Arguments& common, Json& given) {
  for (const MethodOption& option : method_options()) {
    Arguments own = arguments.group("With --method " + methods_named(option.methods));
    Arguments& place = option.methods.size() < kCommon ? own : common;
    place.add(
        "--" + option.name,
        [&given, param = option.params.front()](const std::string& word) {
          given[param->name] = parse_param(*param, word);
        },
        option_help(option), option_value(option), option.params.front()->type == ParamType::boolean ? "true" : "");
  }
}

}  // namespace streamline::cli
