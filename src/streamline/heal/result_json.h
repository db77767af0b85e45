// SPDX-License-Identifier: Apache-2.0
// A healing run's curves as JSON: what a report shows, and what a training state keeps.
#pragma once

#include "streamline/heal/trainer.h"

namespace streamline {

Json to_json(const HealStep& step);
// Everything of a result but its weights, and back. Errors: format.
HealResult heal_result_from_json(const Json& json, const std::string& where);

}  // namespace streamline
