// SPDX-License-Identifier: Apache-2.0
// The parameters of the pruning methods as options.
#pragma once

#include <string>

#include "arguments.h"
#include "streamline/base/json.h"
#include "streamline/base/params.h"

namespace streamline::cli {

// Those that many methods share go to `common`, the others under headings that name the methods that have them. What is
// given goes to `given`, by the name of the parameter, once the words are parsed.
void add_method_options(Arguments& arguments, Arguments& common, Json& given);

// "INT=8": the type and the default, if there is one to tell.
std::string option_value(const Param& param);

}  // namespace streamline::cli
