// SPDX-License-Identifier: Apache-2.0
// What the parts of the reader of config.json share: the file with its family, and checked access to it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/arch/config.h"

namespace streamline {

// config.json with its family and the name that messages give it.
struct ConfigSource {
  const Json& json;
  const Family& family;
  const std::string& where;
};

bool is_present(const Json& json, std::string_view key);  // there and not null

// The value of `key`, or `otherwise` where it is absent. Errors: format when neither is there, or outside 1 … largest.
std::int64_t dimension(const ConfigSource& source, std::string_view key, std::optional<std::int64_t> otherwise = {},
                       std::int64_t largest = kMaxDimension);
bool read_flag(const ConfigSource& source, const FlagRule& rule);
// nullopt where neither the key nor the rule gives a number. Errors: format for one that is not finite.
std::optional<double> read_number(const ConfigSource& source, const NumberRule& rule);

// The decoder layers, without those of the extension.
std::vector<LayerConfig> read_layers(const ConfigSource& source, std::int64_t hidden);

}  // namespace streamline
