// SPDX-License-Identifier: Apache-2.0
// Trains a SHERL adapter: the early layers run without a graph. For the next token the way back goes through the late
// ones alone; for the states that removed layers would have written there is none beyond the adapter.
#pragma once

#include "streamline/heal/removed_layers.h"
#include "streamline/heal/sherl.h"
#include "streamline/heal/trainer.h"

namespace streamline {

struct SherlTuningOptions {
  SherlOptions sherl = {};
  std::int64_t warmup_steps = 100;  // at most a tenth of all
  HealOptions heal = {};            // its losses, objective, start, cache and warmup_fraction have no meaning here
  // The model with the layers that went. With it the adapter learns what these would have made of the stream that
  // enters the late route (Loss::state); without, the next token. Must outlive the tuning.
  const Model* original = nullptr;
  RemovedLayers removed = {};  // of the original, those in front of the late route
};

constexpr double kSherlRate = 1e-3;

struct SherlTuned {
  SherlAdapter adapter = {};  // of the step that was best on the validation text
  HealResult result = {};     // one stage; "nothing" is the model without it
};

// The key (base/state_key.h) of all that decides what tune_sherl() gives.
Json sherl_key(const Model& model, const TokenBatches& training, const TokenBatches& validation,
               const SherlTuningOptions& options);

// Errors: those of initial_sherl() and tune().
SherlTuned tune_sherl(const Model& model, const TokenBatches& training, const TokenBatches& validation,
                      const SherlTuningOptions& options);

}  // namespace streamline
