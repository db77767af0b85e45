// SPDX-License-Identifier: Apache-2.0
// Activations as config.json names them.
#pragma once

#include <optional>
#include <string_view>

#include "streamline/arch/family.h"

namespace streamline {

std::optional<Activation> parse_activation(std::string_view name);
std::string_view activation_name(Activation activation);  // parse_activation() reads it back

}  // namespace streamline
