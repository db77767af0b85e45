// SPDX-License-Identifier: Apache-2.0
// Llama 3.1's scaling of rotary frequencies.
#pragma once

#include "streamline/arch/config.h"

namespace streamline {

// Short wavelengths stay, long ones are stretched by `factor`, those between are blended. `frequency`: radians a
// position.
double llama3_frequency(const RopeConfig& rope, double frequency);

}  // namespace streamline
