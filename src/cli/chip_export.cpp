// SPDX-License-Identifier: Apache-2.0
// `streamline chip export`: the model cut behind its chips.
#include <memory>

#include "chip_actions.h"
#include "options.h"
#include "streamline/arch/companions.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/chip/export.h"
#include "streamline/io/quantize.h"

namespace streamline::cli {
namespace {

struct ChipExportOptions {
  CommonOptions common;
  ChoiceOptions choice;
  std::string model, chips, task, out, gguf, type = "f16", max_shard_size = "5GB";
  bool plain = false, overwrite = false;
};

// The chips to export: of one task or all, chosen as the file says or by the options.
chip::Chips chosen_chips(const ChipExportOptions& options, bool chooses) {
  chip::Chips chips = chip::read_chips(options.chips);
  if (!options.task.empty()) {
    chip::TaskChips only = chip::task_named(chips, options.task);
    chips.tasks.assign(1, std::move(only));
  }
  if (chooses)
    for (chip::TaskChips& task : chips.tasks)
      task.choice = chip::select_chip(task.chips, choice_options(options.choice));
  return chips;
}

DType gguf_type(const std::string& word) {
  return word == "f32" ? DType::f32 : word == "bf16" ? DType::bf16 : word == "q8_0" ? DType::q8_0 : DType::f16;
}

// Returns what a reader must know of the file, which is also warned of; empty where it is nothing.
std::string write_gguf_beside(const ChipExportOptions& options, const chip::Exported& exported, const Model& model) {
  if (!exported.why_plain.empty())
    fail(ErrorKind::unsupported, options.gguf,
         ": a GGUF file has the head that transformers has: ", exported.why_plain);
  chip::export_chips_gguf(options.out, options.gguf, gguf_type(options.type),
                          options.overwrite ? Overwrite::yes : Overwrite::no);
  const std::string why = chip::why_not_in_llama_cpp(model);
  if (why.empty()) return {};
  log_warning(options.gguf + ": " + why);
  return options.gguf + ": " + why;
}

void check_export_options(const Arguments& arguments, const ChipExportOptions& options) {
  check_meaning(arguments, {{.options = {"--type"}, .means = !options.gguf.empty(), .goes_with = "--gguf"}});
  if (options.plain && !options.gguf.empty())
    fail(ErrorKind::usage, "--plain leaves no classifier for --gguf to write; give one of the two");
}

Output export_output(const ChipExportOptions& options, const chip::Chips& chips, const chip::Exported& exported,
                     const Json& run, const std::string& doubt) {
  Json notes = exported.applied.notes;
  if (exported.why_plain.empty())
    notes.push_back("transformers loads it as " + exported.architecture +
                    "; README.md says what a text must look like for it");
  std::string text = options.out + ": " + exported.architecture + ", " + std::to_string(exported.layers) + " of " +
                     counted(chips.trunk.layers, "layer") + ", " + format_bytes(exported.applied.bytes) + "\n";
  if (!exported.why_plain.empty()) text += "no classifier of transformers: " + exported.why_plain + "\n";
  for (const Json& note : notes) text += note.get<std::string>() + "\n";
  if (!doubt.empty()) notes.push_back(doubt);  // which the log has said
  Json json = {{"run", run},
               {"output", options.out},
               {"architecture", exported.architecture},
               {"layers", exported.layers},
               {"layers_before", chips.trunk.layers},
               {"parameters", exported.applied.parameters},
               {"bytes", exported.applied.bytes},
               {"why_plain", exported.why_plain.empty() ? Json() : Json(exported.why_plain)},
               {"largest_logit_difference", exported.largest_difference},
               {"notes", notes}};
  if (!options.gguf.empty()) json["gguf"] = options.gguf;
  return {std::move(json), std::move(text)};
}

Output run_export(const ChipExportOptions& options, bool chooses) {
  Placement placement = start(options.common);
  if (options.common.dtype == "auto") placement.dtype = torch::kFloat32;  // the comparison sees no rounding
  check_output_directory(options.out, options.overwrite);
  check_output(options.gguf, options.overwrite);
  const chip::Chips chips = chosen_chips(options, chooses);
  const Model model = Model::open(open_checkpoint(options.model), placement);
  chip::check_trunk(chips.trunk, model, options.chips);
  check_no_side_route(model.checkpoint(), "no model that is cut behind its chips can keep");
  if (!options.gguf.empty())
    if (const std::string why = chip::why_no_classifier(model, chips); !why.empty())
      fail(ErrorKind::unsupported, options.gguf, ": a GGUF file has the head that transformers has; ", why);
  chip::ExportOptions wanted{.max_shard_size = parse_size(options.max_shard_size),
                             .overwrite = options.overwrite ? Overwrite::yes : Overwrite::no,
                             .plain = options.plain,
                             .run = computing_record(placement, options.common.seed)};
  for (const chip::TaskChips& task : chips.tasks)
    if (const std::string doubt = doubt_about(task); !doubt.empty()) log_warning(doubt);
  const chip::Exported exported = chip::export_chips(model, chips, options.out, wanted);
  const std::string doubt = options.gguf.empty() ? "" : write_gguf_beside(options, exported, model);
  return export_output(options, chips, exported, wanted.run, doubt);
}

}  // namespace

std::function<Output()> declare_chip_export(Arguments arguments) {
  auto options = std::make_shared<ChipExportOptions>();
  add_model(arguments, options->model);
  arguments.add("--chips", options->chips, "a file that `streamline chip train` or `select` made", {.required = true});
  arguments.add("--task", options->task, "of this task only; default: all, on one trunk");
  arguments.add("--out", options->out, "directory of the result", {.required = true});
  arguments.flag("--plain", options->plain, "a plain trunk, even where transformers has a class for the chip");
  arguments.add("--gguf", options->gguf, "also write this GGUF file, with the chip as its classifier");
  arguments.add("--type", options->type, "of the GGUF file's matrices",
                {.choices = {"f32", "f16", "bf16", "q8_0"}, .any_case = true});
  add_shard_size(arguments, options->max_shard_size);
  arguments.flag("--overwrite", options->overwrite, "replace existing files");
  add_choice_options(arguments, options->choice);
  add_compute_options(arguments, options->common);
  return [options, arguments] {
    check_export_options(arguments, *options);
    return run_export(*options, resolve_choice(arguments, options->choice));
  };
}

}  // namespace streamline::cli
