// SPDX-License-Identifier: Apache-2.0
// Llama 3.1's scaling of rotary frequencies.
#pragma once

#include <cstddef>

#include "streamline/arch/config.h"

namespace streamline {

// Short wavelengths stay, long ones are stretched by `factor`, those between are blended. `frequency`: radians a
// position.
double llama3_frequency(const RopeConfig& rope, double frequency);

// What frequency `i` of `count`, of the base rope.theta, is divided by.
double llama3_factor(const RopeConfig& rope, std::size_t i, std::size_t count);

}  // namespace streamline
