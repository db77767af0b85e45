// SPDX-License-Identifier: Apache-2.0
// The width of a plan: which heads and channels stay of the layers that it keeps.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "streamline/plan/plan.h"

namespace streamline {

// What stays inside a layer of the source; empty where it stays whole.
LayerSlice slice_of(const Plan& plan, std::int64_t layer);

// Part of validate(): slices of layers that are there, of halves that they keep. Errors: mismatch.
void validate_slices(const Plan& plan);

// The slices against the model that they are for. Errors: those of check_slice().
void check_slices(const Config& config, const Plan& plan);

// Nothing of these units went.
bool keeps_all(const KeptUnits& units);
// The slice without what keeps all.
LayerSlice simplified(LayerSlice slice);

struct SlicedPlan {
  Plan plan = {};
  std::vector<std::string> notes = {};  // halves that lost all and went, for people
};
// `plan` with these slices, by layer of the source: a half whose units all went is dropped, and said; slices of halves
// that `plan` drops are left out. Errors: those of validate() and check_slices(); mismatch for a replaced layer.
SlicedPlan with_slices(const Config& config, const Plan& plan, const std::map<std::int64_t, LayerSlice>& slices);

// What went inside the layers that stay: "24 of 96 heads for keys and values in 8 layers and 3072 of 12288
// channels in 8 layers"; empty for plans without slices.
std::string slice_summary(const Plan& plan);

Json slices_to_json(const std::map<std::int64_t, LayerSlice>& slices);
// Errors: format, naming `where` and the key.
std::map<std::int64_t, LayerSlice> slices_from_json(const Json& json, const std::string& where);

}  // namespace streamline
