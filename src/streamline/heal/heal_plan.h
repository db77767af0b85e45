// SPDX-License-Identifier: Apache-2.0
// Healing a plan: a replacement trained for every window that it replaces, one after the other, each on the model as
// the ones before have left it.
#pragma once

#include "streamline/heal/trainer.h"

namespace streamline {

struct HealPlanOptions {
  HealOptions heal = {};                       // its state_file and view_digest are set here
  std::filesystem::path state_directory = {};  // of an interrupted run; empty: nothing is saved
};

struct HealedPlanWindow {
  std::int64_t first = 0, count = 0;  // in the source model
  HealResult result = {};
};

struct HealedPlan {
  Plan plan = {};                  // in the form that is written: with_networks()
  Replacements replacements = {};  // of its segments, rounded to what will be stored (as_stored)
  std::vector<HealedPlanWindow> windows = {};
};

// Before the work: that what is saved in options.state_directory is of this run: each state is of a window that the
// plan replaces, and that of the first one has its key. Errors: mismatch, those of load_train_state().
void check_states(const Model& source, const Plan& plan, const ReplacementChoice& choice, const TokenBatches& training,
                  const TokenBatches& validation, const HealPlanOptions& options);

// Trains choice for each segment of `plan` that it replaces, from the first layer on. Errors: those of heal_window()
// and with_networks().
HealedPlan heal_plan(const Model& source, const Plan& plan, const ReplacementChoice& choice,
                     const TokenBatches& training, const TokenBatches& validation, const HealPlanOptions& options);

// Whether a window's replacement is worse, on held-out text and by its last loss, than nothing in the window's place.
bool worse_than_nothing(const HealResult& result);

Json to_json(const HealedPlanWindow& window);

}  // namespace streamline
