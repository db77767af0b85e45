// SPDX-License-Identifier: Apache-2.0
// How far the choice of calibration text moves what methods cut: a part of a comparison's record, as a table.
#pragma once

#include <string>
#include <vector>

#include "streamline/base/json.h"

namespace streamline::report {

// A heading and a row for each method and size; empty where only one text chose.
std::vector<std::vector<std::string>> calibration_rows(const Json& record);

}  // namespace streamline::report
