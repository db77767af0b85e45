// SPDX-License-Identifier: Apache-2.0
// `streamline eval`: how good a checkpoint is.
#include <chrono>
#include <memory>

#include "command.h"
#include "evaluation.h"
#include "kept.h"
#include "plan_option.h"
#include "rank_group.h"
#include "streamline/base/error.h"
#include "streamline/base/resources.h"
#include "streamline/engine/memory.h"
#include "streamline/nn/type_name.h"
#include "streamline/report/report.h"
#include "streamline/tasks/lm_eval_files.h"
#include "streamline/tasks/opencompass_files.h"
#include "training.h"

namespace streamline::cli::eval_command {
namespace {

constexpr int kGateFailed = 3;

struct Options {
  CommonOptions common;
  std::string model, plan, source;
  std::vector<std::string> gates;
  EvaluationOptions evaluation;
};

// The source as it was measured, for divergence and relative gates.
struct MeasuredSource {
  OpenedModel opened;
  Source source = {};
  Evaluation evaluation = {};
};

std::unique_ptr<MeasuredSource> measure_source(const Options& options, const Placement& placement,
                                               const Workload& workload) {
  if (options.source.empty()) return nullptr;
  auto measured = std::make_unique<MeasuredSource>(MeasuredSource{.opened = open_model(options.source, placement)});
  measured->evaluation = evaluate_source(
      measured->opened.model, *measured->opened.tokenizer, workload,
      {.folder = "", .key = model_key(measured->opened.model, "", options.common.seed)}, measured->source);
  return measured;
}

void check_gates_of(const Options& options, const std::vector<Gate>& gates, const Workload& workload) {
  const bool has_source = !options.source.empty();
  const std::vector<std::string> names = figure_names(workload, has_source), of_source = figure_names(workload, false);
  for (const Gate& gate : gates) check_gate(gate, names, has_source ? &of_source : nullptr);
}

Json check_gates(const std::vector<Gate>& gates, const Figures& figures, const Figures* source, std::string& text,
                 int& status) {
  Json results = Json::array();
  for (const Gate& gate : gates) {
    const GateResult result = check(gate, figures, source);
    results.push_back(
        {{"gate", gate.text}, {"value", result.value}, {"bound", result.bound}, {"passed", result.passed}});
    if (!result.passed) status = kGateFailed;
    char line[128];
    std::snprintf(line, sizeof line, ": %s is %.6g, the bound %.6g\n", gate.figure.c_str(), result.value, result.bound);
    text += std::string(result.passed ? "passed" : "FAILED") + " --gate '" + gate.text + "'" + line;
  }
  return results;
}

// The same answers as other programs store them, for scripts that read those.
void write_for_others(const Options& options, const Evaluation& evaluation, const Workload& workload,
                      const Model& model) {
  const EvaluationOptions& asked = options.evaluation;
  if (asked.out.empty() || evaluation.answers.empty() || !ranks().first()) return;
  if (style_named(asked.style) == Style::opencompass) {
    write_opencompass(asked.out, options.model, evaluation.answers, workload.sets);
    return;
  }
  const Json config = {{"model", "streamline"},
                       {"model_args", {{"pretrained", options.model}}},
                       {"model_num_parameters", model.parameters()},
                       {"model_dtype", "torch." + std::string(type_name(model.placement().dtype))},
                       {"device", model.placement().device.str()},
                       {"limit", asked.limit > 0 ? Json(asked.limit) : Json()},
                       {"random_seed", options.common.seed}};
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  write_lm_eval(asked.out, evaluation.answers, workload.sets,
                {.model = options.model,
                 .config = config,
                 .started = now.count() - evaluation.seconds,
                 .seconds = evaluation.seconds});
}

Output run(const Options& options) {
  std::vector<Gate> gates;
  for (const std::string& gate : options.gates) gates.push_back(parse_gate(gate));
  const Placement placement = start(options.common);
  const OpenedModel opened = open_model(options.model, placement);
  std::optional<PlannedSurgery> surgery;
  if (!options.plan.empty()) surgery = open_plan(options.plan, opened.model, options.common.seed);
  const Model model = surgery ? surgery->on(opened.model).view(surgery->plan, surgery->replacements) : opened.model;
  const Workload workload = load_workload(options.evaluation, opened, options.common.seed);
  check_gates_of(options, gates, workload);
  if (!workload.texts.empty()) check_sweep_memory(opened.model, workload.perplexity.window);
  const Keep keep{.folder = options.evaluation.out,
                  .key = model_key(model, surgery ? digest(*surgery) : "", options.common.seed),
                  .overwrite = options.evaluation.overwrite};
  check_kept(keep, workload);  // before a source is read for it
  Evaluation evaluation;
  std::unique_ptr<MeasuredSource> source;
  naming_bad_tensors(model, [&] {
    source = measure_source(options, placement, workload);
    evaluation = evaluate(model, *opened.tokenizer, workload, keep, source ? &source->source : nullptr);
  });
  write_for_others(options, evaluation, workload, model);
  Output output{.json = {{"run", computing_record(placement, options.common.seed)},
                         {"model", {{"path", options.model}, {"digest", opened.model.checkpoint().digest()}}}},
                .text = describe(placement) + "\n" + perplexity_lines(evaluation, workload)};
  output.json.update(to_json(evaluation, workload));
  output.json["peak_memory"] = peak_resident_memory();
  if (!evaluation.answers.empty()) output.text += format_table(task_rows(evaluation.answers));
  std::optional<Figures> source_figures;
  if (source) source_figures = figures(source->evaluation, source->opened.model);
  if (!gates.empty())
    output.json["gates"] = check_gates(gates, figures(evaluation, model), source_figures ? &*source_figures : nullptr,
                                       output.text, output.status);
  return output;
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  add_model(arguments, options->model);
  arguments.add("--plan", options->plan, "look at the model through this plan, without writing it");
  arguments.add("--source", options->source,
                "the model that this one was made from: adds the divergence from it, and bounds relative to it");
  arguments.add("--gate", options->gates,
                "conditions, e.g. 'perplexity<=1.05x' or 'hellaswag.acc>=0.4' (a share, not per cent); exit status 3 "
                "when one does not hold");
  add_evaluation_options(arguments, options->evaluation);
  add_sweep_options(arguments, options->common);
  return [options] { return resumable(options->evaluation.out, [&] { return run(*options); }); };
}

}  // namespace

const Command& command() {
  static const Command declared{
      "eval", "perplexity and benchmarks of a checkpoint",
      "  streamline eval models/books-5m --perplexity models/text/valid.txt\n"
      "  streamline eval MODEL --perplexity FILE --window 512 --max-windows 64 --json\n"
      "  streamline eval MODEL --tasks hellaswag,piqa --data-dir DIR --limit 200 --out RESULTS\n"
      "  streamline eval SMALLER --source MODEL --perplexity FILE --gate 'perplexity<=1.05x' --gate 'kl<=0.1'\n"
      "  torchrun --no-python --nproc-per-node 2 streamline eval MODEL --tasks piqa --data-dir DIR\n",
      declare, true};
  return declared;
}

}  // namespace streamline::cli::eval_command
