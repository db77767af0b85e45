// SPDX-License-Identifier: Apache-2.0
// `streamline heal --with sherl`.
#include <optional>
#include <sstream>

#include "heal_run.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/error.h"
#include "streamline/base/resources.h"
#include "streamline/heal/sherl_tuning.h"

namespace streamline::cli::heal_command {
namespace {

std::string sherl_card(const Run& run) {
  const Json& sherl = run.report["sherl"];
  std::ostringstream text;
  text << "`" << run.options.model << "` healed with SHERL (arXiv 2407.07523): what enters layer " << sherl["at"]
       << " is made of the hidden states " << sherl["features"].dump() << " by an adapter of " << sherl["parameters"]
       << " parameters, trained on " << run.report["training"]["tokens"] << " tokens of "
       << run.report["training"]["source"]
       << (run.options.target == "hidden" ? " to write what the layers that were cut would have written"
                                          : " for the next token")
       << ". It lies in `streamline/sherl.safetensors` and cannot be folded into the weights: streamline computes with "
          "it, other programs load the model without it, as it was before.\n"
       << card_end(run);
  return text.str();
}

void write_healed(Run& run, const SherlAdapter& adapter) {
  const Model& model = run.opened.model;
  ApplyOptions apply = apply_options(run, sherl_card(run));
  apply.provenance["sherl"] = run.report["sherl"];
  apply.finish = [&](OutputDirectory& directory, const AppliedPlan& applied) {
    const std::filesystem::path folder = directory.staging() / "streamline";
    std::filesystem::create_directories(folder);
    write_sherl(adapter, Model::open(Checkpoint::open(directory.staging()), model.placement()),
                folder / "sherl.safetensors");
    run.report["output"] = output_record(run.options.out, applied);
    run.report["output"]["notes"].push_back(
        "what was trained lies beside the weights, which other programs load without it");
    write_report(directory, run.report);
  };
  apply_plan(model, plan_of_all(model, "heal"), {}, run.options.out, apply);
}

}  // namespace

void heal_with_sherl(Run& run) {
  const Options& options = run.options;
  const Model& model = run.opened.model;
  SherlTuningOptions tuning{.sherl = options.sherl, .warmup_steps = options.tuning.warmup_steps};
  tuning.sherl.start = options.start == "paper" ? SherlStart::paper : SherlStart::identity;
  tuning.sherl.feature_norm = options.feature_norm == "rms";
  tuning.heal = heal_options(run, "sherl");
  std::optional<Model> original;
  if (options.target == "hidden") {
    if (!options.late_given) tuning.sherl.late = layers_behind_cut(model);
    original = Model::open(open_checkpoint(options.original), model.placement());
    const std::int64_t at = model.layer_count() - tuning.sherl.late;
    check_late(model, tuning.sherl);
    tuning.removed = removed_before(model, *original, at);
    tuning.original = &*original;
  }
  check_state(tuning.heal, sherl_key(model, run.text.training, run.text.validation, tuning));
  measure(run, "before", model);
  const SherlTuned tuned = tune_sherl(model, run.text.training, run.text.validation, tuning);
  run.report["sherl"] = {{"at", tuned.adapter.at},
                         {"features", tuned.adapter.features},
                         {"late", tuning.sherl.late},
                         {"width", tuned.adapter.score.size(0)},
                         {"feature_norm", options.feature_norm},
                         {"start", options.start},
                         {"gate", std::tanh(tuned.adapter.gate.item<double>() / 0.1)},
                         {"parameters", tuned.adapter.parameters()},
                         {"target", options.target}};
  if (original) run.report["sherl"]["original"] = {{"first", tuning.removed.first}, {"count", tuning.removed.count}};
  run.report["summary"] = "trained an adapter (SHERL) of " +
                          format_count(static_cast<double>(tuned.adapter.parameters())) +
                          " parameters that makes what layer " + std::to_string(tuned.adapter.at) + " reads";
  Json record = {{"replacement", "sherl"}, {"loss", original ? "state" : "lm"}};
  record.update(to_json(tuned.result));
  run.report["healing"] = Json::array({std::move(record)});
  tell_if_nothing_learnt(run, tuned.result);
  measure(run, "healed", model.routed(route_of(tuned.adapter, model.placement())));
  if (ranks().first()) write_healed(run, tuned.adapter);
}

}  // namespace streamline::cli::heal_command
