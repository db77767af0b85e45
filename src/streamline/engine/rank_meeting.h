// SPDX-License-Identifier: Apache-2.0
// How ranks find each other: the first listens, says where through the launcher's store, and the others connect.
#pragma once

#include <vector>

#include "streamline/engine/rank_environment.h"
#include "streamline/engine/rank_link.h"

namespace streamline {

// Of the first rank, links to all others, by rank; of the others, the link to the first. Errors as Ranks::join has
// them.
std::vector<RankLink> meet(const RankEnvironment& environment, std::chrono::seconds patience);

}  // namespace streamline
