// SPDX-License-Identifier: Apache-2.0
// The ranks that this process is one of, when it was started as one of several.
#pragma once

#include "streamline/engine/ranks.h"

namespace streamline::cli {

// Meets the others, as the environment says, and remembers them; alone without WORLD_SIZE. Waits as long as
// STREAMLINE_RANK_TIMEOUT says (seconds) for one that says nothing, or half an hour. Errors: those of
// rank_environment() and Ranks::join().
const Ranks& join_ranks();
const Ranks& ranks();

// Whether a file that a result can be taken from is there, which every rank must see alike. Error io: they do not.
bool all_see(bool there, const std::string& where);

}  // namespace streamline::cli
