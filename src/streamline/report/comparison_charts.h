// SPDX-License-Identifier: Apache-2.0
// Charts of a comparison, from its record: rows for charts/quality.json and charts/differences.json.
#pragma once

#include "streamline/base/json.h"

namespace streamline::report {

// "quality-parameters", "quality-speed" and "differences", as far as there are numbers.
Json comparison_charts(const Json& record);

}  // namespace streamline::report
