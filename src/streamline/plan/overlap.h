// SPDX-License-Identifier: Apache-2.0
// How far two plans of one model cut the same.
#pragma once

#include "streamline/plan/plan.h"

namespace streamline {

// Of the attentions and MLPs that either plan drops or replaces, the share that both do, 0 … 1 (Jaccard's index); 1
// where neither cuts anything. Errors: mismatch for plans of different numbers of layers.
double cut_overlap(const Plan& a, const Plan& b);

}  // namespace streamline
