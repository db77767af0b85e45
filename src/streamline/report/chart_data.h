// SPDX-License-Identifier: Apache-2.0
// The rows and signals that the Vega specifications in charts/ draw, derived from report.json.
#pragma once

#include "streamline/base/json.h"

namespace streamline::report {

// {"windows": {"data": {table: rows}, "signals": {name: value}}, "curve": …, "norms": …, "training": …}.
// A chart whose part of the report is missing is not there.
//
// Windows are drawn by `distance` = 1 - cosine, on a logarithmic scale: the windows worth cutting lie close to 1.
Json chart_data(const Json& report);

}  // namespace streamline::report
