// SPDX-License-Identifier: Apache-2.0
#include "prune_run.h"

#include <algorithm>
#include <cmath>

#include "changed_model.h"
#include "plan_option.h"
#include "rank_group.h"
#include "shipped_text.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"
#include "streamline/heal/heal_plan.h"
#include "streamline/heal/refit.h"
#include "streamline/io/checkpoint_writer.h"
#include "streamline/plan/layer_text.h"
#include "streamline/surgery/apply_gguf.h"
#include "streamline/surgery/changeable.h"
#include "streamline/surgery/fold.h"
#include "streamline/surgery/widths.h"
#include "training.h"

namespace streamline::cli {
namespace {

constexpr double kRuined = 4;  // times the perplexity of the source

// Held-out sequences as one text to measure on, where no --eval was given.
EvaluationText held_out_text(const TokenBatches& validation) {
  EvaluationText text;
  for (const auto& sequence : validation.sequences)
    text.ids.insert(text.ids.end(), sequence.begin() + validation.skip_first, sequence.end());
  text.bytes = validation.bytes;
  text.source = validation.source;
  text.digest = validation.digest;
  return text;
}

void load_evaluation(PruneRun& run) {
  const PruneOptions& options = run.options;
  run.evaluation = options.evaluation.empty()
                       ? held_out_text(run.validation)
                       : load_evaluation_text(options.evaluation, options.data.corpus, *run.opened.tokenizer);
  run.perplexity = measured_windows(run.opened, options.data, options.evaluation_windows);
  check_long_enough(run.evaluation, run.perplexity.window, "--seq-len");
}

// How many heads and channels stay in each layer that loses some, of all its experts.
Json describe_slices(const Plan& plan) {
  Json slices = Json::array();
  for (const auto& [layer, slice] : plan.slices) {
    slices.push_back({{"layer", layer}});
    if (slice.kv_heads) slices.back()["kv_heads"] = {{"kept", slice.kv_heads->count()}, {"of", slice.kv_heads->of}};
    if (slice.channels.empty()) continue;
    std::int64_t kept = 0, of = 0;
    for (const KeptUnits& units : slice.channels) kept += units.count(), of += units.of;
    slices.back()["channels"] = {{"kept", kept}, {"of", of}};
  }
  return slices;
}

Json describe_choice(const PruneRun& run) {
  const Proposal& proposal = run.proposal;
  const Segment* cut = nullptr;
  Json cuts = Json::array();
  std::int64_t cut_layers = 0;
  bool halves = false;
  for (const Segment& segment : proposal.plan.segments) {
    if (segment.action == Action::keep) continue;
    if (cut == nullptr) cut = &segment;
    cuts.push_back({{"start", segment.first}, {"count", segment.count()}});
    if (segment.action == Action::drop_attention) cuts.back()["half"] = "attention";
    if (segment.action == Action::drop_mlp) cuts.back()["half"] = "MLP";
    const bool whole = segment.action == Action::drop || segment.action == Action::replace;
    halves |= !whole;
    cut_layers += whole ? segment.count() : 0;
  }
  const Json& decided = proposal.plan.scores;
  const auto add_reasons = [&](Json choice) {
    for (const char* key : {"margin", "estimates", "sparsity", "ratio", "budgets", "angular"})
      if (decided.contains(key)) choice[key] = decided[key];
    if (!proposal.plan.slices.empty()) choice["slices"] = describe_slices(proposal.plan);
    return choice;
  };
  if (cut == nullptr && proposal.plan.slices.empty()) return nullptr;
  if (cut == nullptr)  // all layers stay, narrower
    return add_reasons({{"method", proposal.plan.method.name},
                        {"summary", summary(proposal.plan)},
                        {"protect", proposal.plan.method.parameters.value("protect", Json::array())}});
  Json windows = Json::array();
  for (const Window& window : proposal.windows) windows.push_back({{"start", window.start}, {"cosine", window.cosine}});
  Json choice = {{"method", proposal.plan.method.name},
                 {"cut", cut->count()},
                 {"cuts", cuts},
                 {"net_layers", cut_layers - std::ssize(proposal.replacements) -
                                    std::ssize(cuts) * replacement_use(run.opened.model, run.replacement).layers},
                 {"start", cut->first},
                 {"windows", windows},
                 {"protect", proposal.plan.method.parameters.value("protect", Json::array())},
                 {"forced", proposal.plan.method.parameters.contains("start") &&
                                !proposal.plan.method.parameters["start"].is_null()}};
  if (halves || !proposal.replacements.empty() || !proposal.plan.slices.empty())
    choice["summary"] = summary(proposal.plan);  // what `cuts` cannot say
  if (proposal.scores.layers > 0) choice["cosine"] = proposal.scores.window_cosine(cut->first, cut->count());
  return add_reasons(std::move(choice));
}

void end_stage(PruneRun& run, const std::string& name, const Stopwatch& watch) {
  run.report["stages"].push_back(
      {{"name", name}, {"seconds", watch.seconds()}, {"peak_memory", peak_resident_memory()}});
}

}  // namespace

void stage(PruneRun& run, const std::string& name, const std::function<void()>& work) {
  log_detail(name);
  reset_peak_memory();
  const Stopwatch watch;
  work();
  end_stage(run, name, watch);
}

void check_writable(const PruneRun& run) {
  const Model& source = run.opened.model;
  check_applicable(source.checkpoint(), run.options.out);
  resolve_form(source.checkpoint(), source.config(), parse_format(run.options.format));
  if (run.heals() && run.replacement != "auto") check_replacement(run, run.replacement);
}

void check_replacement(const PruneRun& run, const std::string& name) {
  const Model& source = run.opened.model;
  const Format format = parse_format(run.options.format);
  const Replacement& network = *parse_replacement(name).network;
  const LayerConfig shape = usual_shape(network, source.config());
  if (!source.checkpoint().is_safetensors()) check_gguf_replacement(source.config(), shape, 0);
  check_form(source.config(), shape, 0, resolve_form(source.checkpoint(), source.config(), format));
  if (format == Format::ordinary && folding_of(network, source.config()) == Folding::extension)
    fail(ErrorKind::usage, "'", name, "' is no layer that ordinary checkpoints have; choose another ",
         "--replace (layer, swiglu-residual), or --format auto");
}

void check_cut(const PruneRun& run, const Plan& plan) {
  const Model& source = run.opened.model;
  if (!source.checkpoint().is_safetensors()) return check_gguf_cut(source, plan);
  const Format format = parse_format(run.options.format);
  check_zero_halves(source, plan, resolve_form(source.checkpoint(), source.config(), format));
}

void load_data(PruneRun& run) {
  const PruneOptions& options = run.options;
  run.report["source"] = source_record(options.model, run.opened.model);
  tell_of_shipped_text(options.data);
  run.calibration = load_calibration(run.opened, options.data, options.common.seed);
  run.report["calibration"] = text_record(run.calibration);
  run.questions = load_questionnaire(options.questions, run.opened, options.data, options.common.seed);
  if (options.plan_only) return;
  if (run.heals() || options.evaluation.empty()) {
    SplitSequences split = load_training_text(run.opened, options.data, run.heals() ? options.tokens : 1,
                                              options.validation_sequences, options.common.seed);
    run.training = std::move(split.training);
    run.validation = std::move(split.validation);
  }
  load_evaluation(run);
}

ReplacementUse replacement_use(const Model& source, const std::string& replacement) {
  if (replacement == "none") return {};
  const ReplacementChoice choice = parse_replacement(replacement);
  const Replacement& network = *choice.network;
  if (network.before > 0) return {.name = std::string(network.name), .before = network.before};
  const Config& config = source.config();
  return {.name = std::string(network.name),
          .layers = usual_shape(network, config).attention ? choice.count : 0,
          .parameters = [choice, &config](std::int64_t first) {
            return choice.count * replacement_parameters(*choice.network, config, first);
          }};
}

namespace {

Proposal propose_with(PruneRun& run, const std::string& replacement, const Json& params) {
  const PruneOptions& options = run.options;
  const Method& method = find_method(options.method);
  PruneContext context{.model = run.opened.model,
                       .calibration = run.calibration,
                       .replacement = replacement_use(run.opened.model, replacement),
                       .seed = options.common.seed};
  if (!run.proposal.scores.cosine.empty()) context.scores = &run.proposal.scores;
  context.sweep.label = "scoring";
  context.sweep.beyond_positions = true;
  context.questions = run.questions;
  context.memory = &run.memory;
  context.prefixes.file = parse_size(options.cache_limit);
  context.means_stay = options.refit == "bias";
  return method.propose(context, resolve_params(method.params, params, "streamline prune"));
}

// As large as the format of the result writes it.
Model as_written(const PruneRun& run, const Plan& plan, const Replacements& replacements) {
  const Model& source = run.opened.model;
  const LayerForm form = resolve_form(source.checkpoint(), source.config(), parse_format(run.options.format));
  return written_view(source, plan, replacements, form);
}

// What a proposal leaves, with what is put back as large as it will be.
Model untrained_view(const PruneRun& run, const Proposal& proposal) {
  const Model& source = run.opened.model;
  PlannedSurgery surgery{.plan = proposal.plan, .replacements = proposal.replacements};
  if (run.heals()) surgery.plan = with_networks(surgery.plan, parse_replacement(run.replacement));
  fill_initial_weights(source, run.options.common.seed, surgery);
  return as_written(run, surgery.plan, surgery.replacements);
}

// The smallest cut within --budget; what it came to goes into the report.
Proposal propose_within_budget(PruneRun& run) {
  const Method& method = find_method(run.options.method);
  const BudgetTrial trial{.propose =
                              [&](const Json& params) {
                                Proposal proposal = propose_with(run, run.replacement, params);
                                if (proposal.scores.layers > 0) run.proposal.scores = proposal.scores;
                                return proposal;
                              },
                          .view = [&](const Proposal& proposal) { return untrained_view(run, proposal); }};
  WithinBudget found =
      smallest_cut(method, run.options.method_params, run.opened.model, parse_budgets(run.options.budget), trial);
  Json budgets = Json::array();
  for (const BudgetFigure& figure : found.figures) {
    budgets.push_back(to_json(figure));
    log_info("--budget " + figure.budget.text + ": --" + found.size_name + " " + found.size_text + " leaves " +
             amount_text(figure.amount, figure.budget.what) + " of " + amount_text(figure.source, figure.budget.what));
  }
  found.proposal.plan.scores["budgets"] = std::move(budgets);
  return std::move(found.proposal);
}

}  // namespace

Proposal propose(PruneRun& run, const std::string& replacement) {
  return propose_with(run, replacement, run.options.method_params);
}

void choose(PruneRun& run) {
  run.proposal = run.options.budget.empty() ? propose(run, run.replacement) : propose_within_budget(run);
  for (const Segment& segment : run.proposal.plan.segments)
    if ((segment.action == Action::drop || segment.action == Action::replace) &&
        segment.count() == run.proposal.plan.base.layers)
      fail(ErrorKind::usage, "a cut of ", segment.count(), " layers takes all ", run.proposal.plan.base.layers,
           " of the model; at least one must stay");
  run.plan = run.proposal.plan;
  run.replacements.clear();
  for (const auto& [segment, weights] : run.proposal.replacements)
    run.replacements[segment] = as_stored(weights, run.opened.model.config());
  if (run.heals()) run.plan = with_networks(run.plan, parse_replacement(run.replacement));
  // A method that looks at no text has none.
  run.report["scores"] = run.proposal.scores.layers > 0 ? to_json(run.proposal.scores) : Json();
  run.report["choice"] = describe_choice(run);
  run.report["warnings"] = run.proposal.warnings;
}

namespace {

// The perplexity is `model`'s, sizes and speed are those of the model that is written.
void measure(PruneRun& run, const std::string& name, const Model& model, const Model& written) {
  const PerplexityResult result = perplexity(model, run.evaluation, run.perplexity, run.opened.tokenizer->bos());
  Json row = {{"name", name},
              {"layers", model.layer_count()},
              {"parameters", written.parameters()},
              {"bytes", written.weight_bytes()},
              {"perplexity", perplexity_record(result, run.perplexity, run.evaluation, run.first)}};
  if (const std::int64_t padding = written.parameters() - model.parameters(); padding > 0) row["padding"] = padding;
  if (!run.options.no_speed && ranks().first()) {
    const SpeedResult speed =
        measure_speed(written, {.prompt = run.perplexity.window, .decode = 32, .repetitions = 3, .batch = 1}, false);
    row["prefill_tokens_per_second"] = speed.prefill_tokens_per_second;
    row["decode_tokens_per_second"] = speed.decode_tokens_per_second;
  }
  run.report["models"].push_back(row);
  run.report["evaluation"] = {{"source", run.evaluation.source},
                              {"window", run.perplexity.window},
                              {"stride", run.perplexity.stride > 0 ? run.perplexity.stride : run.perplexity.window},
                              {"bos", run.perplexity.bos},
                              {"tokens", result.tokens}};
  log_info(name + ": perplexity " + perplexity_text(result.value));
}

}  // namespace

void measure_source(PruneRun& run) { measure(run, "source", run.opened.model, run.opened.model); }

void measure(PruneRun& run, const std::string& name, const Plan& plan) {
  const Model& source = run.opened.model;
  measure(run, name, source.view(plan, run.replacements), as_written(run, plan, run.replacements));
  const bool fits = run.options.refit != "none";
  if (name == "cut" && (run.heals() || fits)) return;
  const auto perplexity_of = [&](std::size_t row) {
    return run.report["models"][row]["perplexity"]["value"].get<double>();
  };
  const std::size_t last = run.report["models"].size() - 1;
  if (fits && perplexity_of(last) > perplexity_of(last - 1))
    warn(run.report, "--refit " + run.options.refit +
                         " leaves a higher perplexity than the cut alone: give it more text " +
                         "(--samples, --shuffle), or leave it out");
  if (const double grown = perplexity_of(last) / perplexity_of(0); grown >= kRuined)
    warn(run.report,
         "the perplexity is " + general(grown, 3) + " times the source's: cut less, or train " +
             (run.plan.slices.empty() ? "a replacement (--replace)" : "what is left (--refit least-squares)") +
             ", and heal it (`streamline heal`)");
}

void refit(PruneRun& run) {
  const RefitKind kind = parse_refit(run.options.refit);
  const Refit found = refit_slices(run.opened.model, run.plan, run.calibration, kind);
  Json matrices = Json::array();
  run.fitted = !found.matrices.empty();
  for (const auto& [place, fit] : found.matrices) {
    matrices.push_back({{"layer", place.first},
                        {"matrix", role_name(place.second)},
                        {"missing_before", fit.before},
                        {"missing_after", fit.after}});
    if (kind == RefitKind::least_squares)
      matrices.back()["ridge"] = std::isfinite(fit.ridge) ? Json(fit.ridge) : Json();
  }
  for (const EmulatedUpdate& update : found.updates) {
    const std::string layers = named_range(update.first, update.last);
    if (!update.why.empty()) warn(run.report, "nothing stands for what went of " + layers + ": " + update.why);
    matrices.push_back(
        {{"layers", {update.first, update.last}}, {"missing_before", update.before}, {"missing_after", update.after}});
    run.fitted = run.fitted || update.place;
    if (update.place)
      matrices.back().update({{"layer", update.place->first}, {"matrix", role_name(update.place->second)}});
  }
  run.report["refit"] = std::move(matrices);
  run.opened.model = found.model;
}

namespace {

Json provenance(const PruneRun& run) {
  Json record = run.report["run"];
  record["source"] = run.report["source"]["path"];
  record["source_digest"] = run.report["source"]["digest"];
  record["calibration"] = run.report["calibration"];
  if (run.heals()) {
    record["training"] = text_record(run.training);
    record["replacement"] = run.replacement;
    const double given = run.options.heal.learning_rate;
    const double rate = given > 0 ? given : parse_replacement(run.replacement).network->learning_rate;
    if (rate > 0) record.update({{"loss", run.options.loss}, {"learning_rate", rate}});
  }
  if (run.options.refit != "none") record["refit"] = run.options.refit;
  record["models"] = run.report["models"];
  record["recipe"] = run.options.recipe;
  return record;
}

}  // namespace

void write(PruneRun& run) {
  const PruneOptions& options = run.options;
  ApplyOptions apply;
  apply.max_shard_size = parse_size(options.max_shard_size);
  apply.overwrite = options.overwrite ? Overwrite::yes : Overwrite::no;
  apply.format = parse_format(options.format);
  apply.repeatable = !run.fitted;
  apply.provenance = provenance(run);
  reset_peak_memory();
  const Stopwatch watch;
  apply.finish = [&](OutputDirectory& directory, const AppliedPlan& applied) {
    end_stage(run, "write and verify", watch);
    for (const std::string& note : applied.notes) log_info(note);
    run.report["output"] = output_record(options.out, applied);
    write_report(directory, run.report);
  };
  apply_plan(run.opened.model, run.plan, run.replacements, options.out, apply);
}

}  // namespace streamline::cli
