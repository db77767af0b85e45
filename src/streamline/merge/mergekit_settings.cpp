// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/mergekit_settings.h"

#include <algorithm>

#include "streamline/base/error.h"

namespace streamline::merge {
namespace {

bool is_value(const Json& setting) { return setting.is_number() || setting.is_boolean(); }

double value_of(const Json& setting) {
  if (setting.is_boolean()) return setting.get<bool>() ? 1 : 0;
  return setting.get<double>();
}

double gradient(const Json& values, double t) {
  const double scaled = t * static_cast<double>(values.size() - 1);
  const auto low = std::min(static_cast<std::size_t>(scaled), values.size() - 1);
  const std::size_t high = std::min(low + 1, values.size() - 1);
  const double share = scaled - static_cast<double>(low);
  return (1 - share) * value_of(values[low]) + share * value_of(values[high]);
}

bool applies(const Json& entry, const std::string& tensor, const std::string& where) {
  const auto filter = json_string(entry, "filter", where);
  return !filter || *filter == "*" || tensor.find(*filter) != std::string::npos;
}

}  // namespace

std::optional<double> evaluate_setting(const Json& setting, const std::string& tensor, double t,
                                       const std::string& where) {
  const auto refuse = [&] {
    fail(ErrorKind::format, where, ": ", setting.dump(),
         " is no value of a parameter; expected a number, a list of them, or a list of filters with values");
  };
  if (is_value(setting)) return value_of(setting);
  if (setting.is_object()) return evaluate_setting(Json::array({setting}), tensor, t, where);
  if (!setting.is_array() || setting.empty()) refuse();
  if (std::ranges::all_of(setting, is_value)) return gradient(setting, t);
  for (const Json& entry : setting) {
    if (!entry.is_object() || !entry.contains("value")) refuse();
    if (applies(entry, tensor, where)) return evaluate_setting(entry["value"], tensor, t, where);
  }
  return std::nullopt;
}

std::optional<double> find_setting(const std::vector<const Json*>& levels, std::string_view name,
                                   const std::string& tensor, double t, const std::string& where) {
  for (const Json* level : levels) {
    if (level == nullptr || !level->is_object()) continue;
    const auto setting = level->find(name);
    if (setting == level->end()) continue;
    if (auto value = evaluate_setting(*setting, tensor, t, where + ": '" + std::string(name) + "'")) return value;
  }
  return std::nullopt;
}

}  // namespace streamline::merge
