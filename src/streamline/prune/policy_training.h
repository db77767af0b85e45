// SPDX-License-Identifier: Apache-2.0
// Learning keep-probabilities from losses of masked models, step by step, and what it comes to.
#pragma once

#include "streamline/prune/policy_units.h"

namespace streamline {

// The signed proposal after all steps: of those looked at the set that is likeliest to stay and was best on held-out
// sequences, or the last. Goes on from what the context remembers of the same search. Errors: resource for fewer than
// two sequences; usage where the ratio takes nothing; format for a broken state.
Proposal learnt_proposal(const PruneContext& context, const PolicySettings& settings, const Json& params);

}  // namespace streamline
