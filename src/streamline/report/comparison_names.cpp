// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/comparison_names.h"

#include <algorithm>

#include "streamline/report/fields.h"
#include "streamline/report/html.h"

namespace streamline::report {

std::string name_of(const Json& model) { return text(model, "/name").value_or("?"); }

std::string code_name(const std::string& name) { return element("code", "", escaped(name)); }

std::string quoted_name(const std::string& name) {
  return name.find(',') == std::string::npos ? name : "\"" + name + "\"";
}

std::string code_names(const Names& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + code_name(name);
  return list;
}

std::string which_of(const Names& names, const Names& all, std::size_t few) {
  if (names.size() <= few) return code_names(names);
  Names others;
  for (const std::string& name : all)
    if (std::ranges::find(names, name) == names.end()) others.push_back(name);
  if (others.empty()) return "all " + std::to_string(all.size());
  return std::to_string(names.size()) + " of " + std::to_string(all.size()) +
         (others.size() <= few ? ", all but " + code_names(others) : "");
}

}  // namespace streamline::report
