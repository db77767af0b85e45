// SPDX-License-Identifier: Apache-2.0
// Rotary embedding settings in config.json: the spelling of transformers 4 (`rope_theta`, `rope_scaling`, …) and that
// of transformers 5 (`rope_parameters`), read by the rules of 5, written in both.
#pragma once

#include <cstdint>
#include <string>

#include "streamline/arch/config.h"

namespace streamline {

// Errors: unsupported (a type other than default, linear, dynamic, llama3, yarn; partial rotation), format.
RopeConfig rope_from_json(const Family& family, const Json& config, std::int64_t max_positions,
                          const std::string& where);

// That of the sliding layers, where the family gives them one of their own.
std::optional<RopeConfig> local_rope_from_json(const Family& family, const Json& config, std::int64_t max_positions,
                                               const std::string& where);

// Writes both spellings with equal values into `config`, which is source.json so far unchanged in these keys.
void write_rope(const Config& source, Json& config);

}  // namespace streamline
