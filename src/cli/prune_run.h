// SPDX-License-Identifier: Apache-2.0
// The main job stage by stage: data, scores and plan, healing, measurement, writing. `prune` runs them in order.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "options.h"
#include "questionnaire.h"
#include "streamline/eval/perplexity.h"
#include "streamline/eval/speed.h"
#include "streamline/heal/candidates.h"
#include "streamline/prune/budget.h"
#include "streamline/surgery/apply.h"

namespace streamline::cli {

struct PruneOptions {
  CommonOptions common;
  std::string model, out, evaluation;
  DataOptions data;
  std::string method = "llm-streamline", max_shard_size = "5GB", format = "auto";
  std::string replacement;              // empty until the command line is read: the method's own
  Json method_params = Json::object();  // what was given on the command line, by parameter name
  std::string budget;                   // how much, where it is not by these
  QuestionOptions questions;            // that the method may ask
  std::int64_t tokens = 300000, validation_sequences = 16, evaluation_windows = 64;
  std::string loss = "mse", mse = "plain", start, state, log, cache, cache_limit = "20GB", cache_dtype = "bfloat16";
  double loss_split = 0.8;
  std::vector<std::string> candidates = {"none", "linear", "swiglu-residual", "layer"};
  std::int64_t candidate_tokens = 50000;
  HealOptions heal;
  std::string recipe;  // what was given, as a file of --config
  std::string refit = "none";
  bool accept_worse = false, overwrite = false, dry_run = false, no_speed = false, plan_only = false;
};

// Everything the stages read and add to.
struct PruneRun {
  const PruneOptions& options;
  OpenedModel opened;
  Json report = Json::object();  // docs/report.md

  TokenBatches calibration = {}, training = {}, validation = {};
  EvaluationText evaluation = {};
  PerplexityOptions perplexity = {};
  std::optional<PerplexityResult> first = {};  // the source's, once it is measured
  Questionnaire questions = {};
  SearchMemory memory = {};  // of the method, where it searches
  Proposal proposal = {};
  std::string replacement = {};  // what was asked for, or what `auto` came to
  Plan plan = {};                // in the form that is written
  Replacements replacements = {};
  bool fitted = false;  // by --refit: matrices of what stays are no longer the source's

  bool heals() const { return replacement != "none"; }
};

// What will stand in for the window, as a method needs to know it.
ReplacementUse replacement_use(const Model& source, const std::string& replacement);
// A plan by the chosen method, with this replacement in place of what it cuts.
Proposal propose(PruneRun& run, const std::string& replacement);

// Runs `work` and records its seconds and peak memory under "stages".
void stage(PruneRun& run, const std::string& name, const std::function<void()>& work);

void check_writable(const PruneRun& run);  // before the work: errors of a result that cannot be written
// That this replacement is a layer of what is written. Errors: unsupported; usage for one that --format does not have.
void check_replacement(const PruneRun& run, const std::string& name);
// That what a plan leaves of the source can be written, told before anything is measured or trained. Errors:
// unsupported.
void check_cut(const PruneRun& run, const Plan& plan);
// Before the work, and again when there is text and when there is a plan: that what --state has is of this run, as far
// as that is known. Errors: mismatch, format.
void check_state(const PruneRun& run);
void load_data(PruneRun& run);
void choose(PruneRun& run);
void choose_replacement(PruneRun& run);  // for --replace auto: tries the candidates
// Rows of "models": the source, and what a plan leaves; its sizes and speed are those of what is written, padding
// included.
void measure_source(PruneRun& run);
void measure(PruneRun& run, const std::string& name, const Plan& plan);
void heal(PruneRun& run);   // and rounds what it trained to what is written
void refit(PruneRun& run);  // of plans that slice: the model then is one with fitted matrices
void write(PruneRun& run);

}  // namespace streamline::cli
