// SPDX-License-Identifier: Apache-2.0
// `streamline list`: what is registered.
#include <memory>

#include "command.h"
#include "method_options.h"
#include "options.h"
#include "streamline/arch/family.h"
#include "streamline/base/error.h"
#include "streamline/base/nearest.h"
#include "streamline/heal/replacement.h"
#include "streamline/prune/method.h"
#include "streamline/report/report.h"
#include "streamline/tasks/task.h"

namespace streamline::cli::list_command {
namespace {

struct Options {
  CommonOptions common;
  std::string name;
};

Json registered_families() {
  Json list = Json::array();
  for (const Family* family : families()) {
    Json types = Json::array();
    for (const std::string_view type : family->model_types) types.push_back(type);
    list.push_back({{"name", family->name},
                    {"title", family->title},
                    {"model_types", types},
                    {"about", family->about},
                    {"gguf", family->gguf.arch.empty() ? Json() : Json(family->gguf.arch)}});
  }
  return list;
}

Json described(const Param& param) {
  Json entry = {{"name", param.name}, {"help", param.help}, {"default", param.default_value}};
  if (param.minimum) entry["minimum"] = *param.minimum;
  if (param.maximum) entry["maximum"] = *param.maximum;
  if (!param.choices.empty()) entry["choices"] = param.choices;
  return entry;
}

Json registered_methods() {
  Json list = Json::array();
  for (const Method* method : methods()) {
    Json parameters = Json::array();
    for (const Param& param : method->params) parameters.push_back(described(param));
    list.push_back({{"name", method->name},
                    {"title", method->title},
                    {"paper", method->paper},
                    {"replacement", method->replacement},
                    {"parameters", parameters}});
  }
  return list;
}

Json registered_replacements() {
  Json list = Json::array();
  list.push_back({{"name", "none"}, {"title", "nothing: the layers are gone"}, {"source", "arXiv 2403.19135"}});
  for (const Replacement* replacement : replacements())
    list.push_back({{"name", replacement->name}, {"title", replacement->title}, {"source", replacement->source}});
  return list;
}

Json shipped_tasks() {
  Json list = Json::array();
  for (const std::string& name : task_names()) list.push_back({{"name", name}, {"about", about(*find_task(name))}});
  return list;
}

std::string as_table(const Json& list, const std::vector<std::string>& columns) {
  std::vector<std::vector<std::string>> rows = {columns};
  for (const Json& entry : list) {
    std::vector<std::string> row;
    row.reserve(columns.size());
    for (const std::string& column : columns) row.push_back(entry.at(column).get<std::string>());
    rows.push_back(row);
  }
  return format_table(rows);
}

// The entry of this name, with the kind of thing that it is.
Json named(const Json& all, const std::string& name) {
  std::vector<std::string> known;
  for (const auto& [list, kind] : {std::pair("methods", "method"), std::pair("replacements", "replacement"),
                                   std::pair("tasks", "task"), std::pair("families", "family")})
    for (const Json& entry : all.at(list)) {
      if (known.emplace_back(entry.at("name").get<std::string>()) != name) continue;
      Json found = {{"kind", kind}};
      found.update(entry);
      return found;
    }
  fail(ErrorKind::usage, "nothing is called '", name, "'", nearest_text(name, known), "; `streamline list` has all");
}

// An entry: what there is to say of it, and of a method its options.
std::string as_text(const Json& entry) {
  std::string text;
  for (const auto& [key, value] : entry.items())
    if (value.is_string() && !value.get<std::string>().empty()) text += key + ": " + value.get<std::string>() + "\n";
  if (entry.at("kind") != "method") return text;
  std::vector<std::vector<std::string>> rows = {{"option", "what it is"}};
  for (const Param& param : find_method(entry.at("name").get<std::string>()).params)
    rows.push_back({"--" + param.name + " " + option_value(param), param.help});
  return text + "\n" + format_table(rows);
}

Output run(const std::string& name) {
  Json result = {{"families", registered_families()},
                 {"methods", registered_methods()},
                 {"replacements", registered_replacements()},
                 {"tasks", shipped_tasks()}};
  if (!name.empty()) {
    Json entry = named(result, name);
    std::string text = as_text(entry);
    return {std::move(entry), std::move(text)};
  }
  std::string text = "Model families\n" + as_table(result["families"], {"name", "title"}) +
                     "\nMethods (prune --method)\n" + as_table(result["methods"], {"name", "title", "paper"}) +
                     "\nReplacements (prune --replace)\n" +
                     as_table(result["replacements"], {"name", "title", "source"}) + "\nTasks (eval --tasks)\n" +
                     as_table(result["tasks"], {"name", "about"});
  return {std::move(result), std::move(text)};
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.add("NAME", options->name, "one of them, and what there is to say of it: of a method its options");
  add_output_options(arguments, options->common);
  return [options] { return run(options->name); };
}

}  // namespace

const Command& command() {
  static const Command declared{"list", "what is registered: model families, methods, replacements, tasks",
                                "  streamline list\n  streamline list shortgpt\n  streamline list --json\n", declare};
  return declared;
}

}  // namespace streamline::cli::list_command
