// SPDX-License-Identifier: Apache-2.0
// Parameters declared once as data: command-line options, JSON keys, documentation and validation derive from them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "streamline/base/json.h"

namespace streamline {

enum class ParamType { boolean, integer, number, text, integers };

// Another parameter and the values of it beside which one means something; none: any that is given.
struct Beside {
  std::string name;
  std::vector<std::string> values = {};
};

struct Param {
  std::string name;  // kebab-case, as on the command line
  ParamType type = ParamType::text;
  std::string help;
  Json default_value = nullptr;  // null: absent unless given
  std::optional<double> minimum = {}, maximum = {};
  std::vector<std::string> choices = {};
  std::vector<Beside> goes_with = {};  // it means something beside one of these only; none: always
};

using Params = std::vector<Param>;

// Parses one command-line word for a parameter. Errors: usage, naming the option and what it takes.
Json parse_param(const Param& param, const std::string& word);

// Fills defaults and checks types, ranges and choices; unknown keys are an error that lists what exists, and so are
// given ones that mean nothing beside the others. Errors: usage.
Json resolve_params(const Params& params, const Json& given, const std::string& where);

}  // namespace streamline
