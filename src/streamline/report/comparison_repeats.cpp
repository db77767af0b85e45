// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/comparison_repeats.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "streamline/report/comparison_names.h"
#include "streamline/report/fields.h"

namespace streamline::report {
namespace {

constexpr std::size_t kShort = 36;  // bytes

// What a name says after its method: "-2 layers"; empty where it does not begin with one.
std::string after_method(const Json& model) {
  const std::string name = name_of(model), method = text(model, "/method").value_or("") + " ";
  return method.size() > 1 && name.starts_with(method) ? name.substr(method.size()) : "";
}

// "angular, shortgpt · -2 layers = mlp-drop -4 MLPs": methods together where the rest of their names is one.
std::string common_name(const std::vector<Json>& models) {
  std::vector<std::pair<std::string, Names>> parts;  // the rest, and methods or whole names
  for (const Json& model : models) {
    const std::string rest = after_method(model);
    const auto known = std::ranges::find(parts, rest, &std::pair<std::string, Names>::first);
    if (rest.empty())
      parts.push_back({"", {name_of(model)}});
    else if (known == parts.end())
      parts.push_back({rest, {*text(model, "/method")}});
    else
      known->second.push_back(*text(model, "/method"));
  }
  std::string name;
  for (const auto& [rest, methods] : parts) {
    name += name.empty() ? "" : " = ";
    for (std::size_t i = 0; i < methods.size(); ++i) name += (i == 0 ? "" : ", ") + methods[i];
    if (!rest.empty()) name += (methods.size() > 1 ? " · " : " ") + rest;
  }
  return name;
}

Json together(const std::vector<Json>& models) {
  Json entry = models.front();
  if (models.size() == 1) return entry;
  entry["name"] = common_name(models);
  entry["members"] = Json::array();
  for (const Json& model : models) entry["members"].push_back(name_of(model));
  return entry;
}

// Names in "alike" become those of the entries.
void rename_alike(Json& entry, const std::map<std::string, std::string>& entry_of) {
  if (find(entry, "/alike") == nullptr) return;
  Names names;
  for (const Json& other : elements(entry, "/alike")) {
    const auto known = other.is_string() ? entry_of.find(other.get<std::string>()) : entry_of.end();
    if (known == entry_of.end() || known->second == name_of(entry)) continue;
    if (std::ranges::find(names, known->second) == names.end()) names.push_back(known->second);
  }
  entry["alike"] = names;
}

}  // namespace

Json without_repeats(const Json& record) {
  const std::vector<Json> models = elements(record, "/models");
  std::vector<std::vector<Json>> groups;
  std::map<std::string, std::size_t> group_of;
  for (const Json& model : models) {
    const auto earlier = text(model, "/same_as");
    const auto first = earlier ? group_of.find(*earlier) : group_of.end();
    const std::size_t group = first == group_of.end() ? groups.size() : first->second;
    if (group == groups.size()) groups.emplace_back();
    groups[group].push_back(model);
    group_of.emplace(name_of(model), group);
  }
  if (groups.size() == models.size()) return record;
  Json result = record;
  result["models"] = Json::array();
  for (const std::vector<Json>& group : groups) result["models"].push_back(together(group));
  std::map<std::string, std::string> entry_of;
  for (const auto& [name, group] : group_of) entry_of[name] = name_of(result["models"][group]);
  for (Json& entry : result["models"]) rename_alike(entry, entry_of);
  return result;
}

std::size_t member_count(const Json& model) { return std::max<std::size_t>(elements(model, "/members").size(), 1); }

std::string first_member(const Json& model) { return text(model, "/members/0").value_or(name_of(model)); }

std::string short_name(const Json& model) {
  const std::size_t members = member_count(model);
  const std::string name = name_of(model);
  return members > 1 && name.size() > kShort ? first_member(model) + " and " + std::to_string(members - 1) + " more"
                                             : name;
}

}  // namespace streamline::report
