// SPDX-License-Identifier: Apache-2.0
// Models of a comparison that are the same, as the cut that several methods choose: measured once, shown once.
#pragma once

#include <string>

#include "streamline/base/json.h"

namespace streamline::report {

// The record with one entry for a model and those that are the same ("same_as"), in its place. "name" has all their
// names, as "angular, shortgpt · -2 layers"; "members" has them one by one.
Json without_repeats(const Json& record);

std::size_t member_count(const Json& model);  // 1 of a model by itself
std::string first_member(const Json& model);  // the name of the one that was measured
std::string short_name(const Json& model);    // "angular -2 layers and 2 more" where it is long

}  // namespace streamline::report
