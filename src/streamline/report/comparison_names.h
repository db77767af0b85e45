// SPDX-License-Identifier: Apache-2.0
// Names of models within sentences. They may hold commas of their own, so lists of them set each name apart.
#pragma once

#include <string>
#include <vector>

#include "streamline/base/json.h"

namespace streamline::report {

using Names = std::vector<std::string>;

std::string name_of(const Json& model);            // "?" where it has none
std::string code_name(const std::string& name);    // markup
std::string quoted_name(const std::string& name);  // in quotation marks where it has a comma
std::string code_names(const Names& names);        // markup: all of them
// Markup: "A, B" of at most `few`; else "20 of 25", with "all but C" where that is few.
std::string which_of(const Names& names, const Names& all, std::size_t few = 6);

}  // namespace streamline::report
