// SPDX-License-Identifier: Apache-2.0
// Values of parameters in mergekit's files: a number, a gradient over the layers of a slice, or either of these for the
// tensors whose name contains a text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/json.h"

namespace streamline::merge {

// The value for a tensor at t (0 at the first layer of its slice, 1 at the last, 0 outside the layers): numbers and
// booleans as they are; a list of numbers interpolated between neighbours; of a list of {filter, value} the first whose
// filter is in the name. nullopt where no filter is. Errors: format.
std::optional<double> evaluate_setting(const Json& setting, const std::string& tensor, double t,
                                       const std::string& where);

// The value from the innermost of these "parameters" objects that has one for the tensor; null objects have none.
std::optional<double> find_setting(const std::vector<const Json*>& levels, std::string_view name,
                                   const std::string& tensor, double t, const std::string& where);

}  // namespace streamline::merge
