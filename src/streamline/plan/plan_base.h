// SPDX-License-Identifier: Apache-2.0
// Whether a plan is one for a model.
#pragma once

#include <cstdint>
#include <string>

#include "streamline/plan/plan.h"

namespace streamline {

// Errors: mismatch where the plan is for another number of layers than `label` has; `where`: what the message calls the
// plan.
void check_plan_layers(const Plan& plan, std::int64_t layers, const std::string& label,
                       const std::string& where = "plan");

}  // namespace streamline
