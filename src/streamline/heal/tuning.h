// SPDX-License-Identifier: Apache-2.0
// Trains adapters in all layers of a model for the next token, as the deeper-layers paper heals what it cut (Gromov et
// al., arXiv 2403.17887, section 3.2 and appendix A.1; QLoRA, Dettmers et al., arXiv 2305.14314, where the frozen
// matrices are quantised). Each layer is computed anew on the way back, so that memory holds one layer's activations
// and the states of a micro-batch.
#pragma once

#include "streamline/heal/adapters.h"
#include "streamline/heal/trainer.h"

namespace streamline {

enum class FrozenBase {
  stored,  // matrices as the checkpoint has them
  nf4,     // decoder layers' matrices in 4-bit NormalFloat while adapters learn (nn/nf4.h)
};

struct TuningOptions {
  AdapterOptions adapters = {};
  FrozenBase base = FrozenBase::stored;
  std::int64_t warmup_steps = 100;  // at most a tenth of all
  HealOptions heal = {};            // its losses, objective, start, cache and warmup_fraction have no meaning here
};

// How the paper trains: the peak of the learning rate of Llama-2-7B, cosine, AdamW without decay, no clipping stated.
constexpr double kTuningRate = 3e-4;

struct Tuned {
  Adapters adapters = {};  // of the step that was best on the validation text
  HealResult result = {};  // one stage; "nothing" is the model without adapters
};

// The key (base/state_key.h) of all that decides what tune() gives.
Json tuning_key(const Model& model, const TokenBatches& training, const TokenBatches& validation,
                const TuningOptions& options);

// Errors: numeric when the loss is not finite, resource when there is no text or too little memory, usage for options
// that make no sense, mismatch for a state file of another run, unsupported for float16.
Tuned tune(const Model& model, const TokenBatches& training, const TokenBatches& validation,
           const TuningOptions& options);

}  // namespace streamline
