// SPDX-License-Identifier: Apache-2.0
// The keys by which saved states tell what run they are of: JSON objects of all that its result depends on, by name.
#pragma once

#include <string>
#include <string_view>

#include "streamline/base/json.h"

namespace streamline {

// The part of a key that says what is saved and in which version of its form, "healing 1". The number is raised when
// what is kept, or what it means, changes: a state of before is then told as one, and not taken for a broken one.
inline constexpr const char* kStateForm = "form";

// What sets a kept key apart from that of the `work` ("run", "search") at hand, as the end of "FILE: ": that it is of
// other work or another version, or "is the state of another run (what differs: model, text)", with a dot in front of
// what differs inside a part. Empty where nothing does.
std::string difference(const Json& kept, const Json& mine, std::string_view work);

// The parts of a kept key that `known` has too: what can be compared before the rest of a key is known.
Json parts_named_in(const Json& known, const Json& kept);

}  // namespace streamline
