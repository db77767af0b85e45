// SPDX-License-Identifier: Apache-2.0
#include "streamline/plan/plan_base.h"

#include "streamline/base/error.h"

namespace streamline {

void check_plan_layers(const Plan& plan, std::int64_t layers, const std::string& label, const std::string& where) {
  if (plan.base.layers != layers)
    fail(ErrorKind::mismatch, where, ": is for a model of ", plan.base.layers, " layers; ", label, " has ", layers);
}

}  // namespace streamline
