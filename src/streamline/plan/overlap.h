// SPDX-License-Identifier: Apache-2.0
// How far two plans of one model cut the same.
#pragma once

#include "streamline/plan/plan.h"

namespace streamline {

// Of what either plan takes of the attentions and MLPs, the share that both do, 0 … 1 (Jaccard's index); 1 where
// neither cuts anything. A half counts as one, and what goes of it by its share of the half's heads or channels; masks
// of single weights count nothing.
// Errors: mismatch for plans of different numbers of layers.
double cut_overlap(const Plan& a, const Plan& b);

}  // namespace streamline
