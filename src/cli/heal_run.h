// SPDX-License-Identifier: Apache-2.0
// A run of `streamline heal`, whatever it trains.
#pragma once

#include "changed_model.h"
#include "options.h"
#include "rank_group.h"
#include "streamline/heal/sherl_tuning.h"
#include "streamline/heal/tuning.h"
#include "training.h"

namespace streamline::cli::heal_command {

struct Options {
  CommonOptions common;
  DataOptions data;
  std::string model, out, adapters, evaluation, with = "lora", base = "stored", state, log;
  std::string recipe;  // what was given, as a file of --config
  std::string max_shard_size = "5GB", start = "identity", feature_norm = "rms", target = "lm", original;
  std::vector<std::string> targets = {"mlp"};
  TuningOptions tuning;
  SherlOptions sherl;
  bool late_given = false;
  std::int64_t tokens = 300000, sequences_per_step = 16, validation_sequences = 16, evaluation_windows = 64;
  bool overwrite = false;
};

struct Run {
  const Options& options;
  OpenedModel opened;
  SplitSequences text = {};
  Measured measured = {};
  Json report = Json::object();
};

// A row of the report: the model's size and, where there is a text for it, its perplexity.
void measure(Run& run, const char* name, const Model& model);
// What all trainings are told by the options; the state's file is called after what is trained.
HealOptions heal_options(const Run& run, const std::string& trained);
// Before the work: that the state of such a training, if there is one, has this key. Errors: those of load_progress().
void check_state(const HealOptions& heal, const Json& key);
// How the healed model is written; `body` is its card.
ApplyOptions apply_options(const Run& run, const std::string& body);
// The end of a card: the perplexities, and how to do it again.
std::string card_end(const Run& run);

// Where no step was better than the model as it was, a warning, and in the report.
void tell_if_nothing_learnt(Run& run, const HealResult& result);

void heal_with_sherl(Run& run);

}  // namespace streamline::cli::heal_command
