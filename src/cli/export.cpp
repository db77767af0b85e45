// SPDX-License-Identifier: Apache-2.0
// `streamline export`: a checkpoint as a GGUF file.
#include <memory>

#include "command.h"
#include "options.h"
#include "streamline/base/error.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/io/quantize.h"
#include "streamline/report/report.h"
#include "streamline/surgery/export_gguf.h"
#include "streamline/text/gguf_vocabulary.h"

namespace streamline::cli::export_command {
namespace {

struct Options {
  CommonOptions common;
  std::string model, gguf, type = "f16";
  std::int64_t context = 0;
  bool overwrite = false;
};

constexpr std::pair<std::string_view, DType> kTypes[] = {
    {"f32", DType::f32}, {"f16", DType::f16}, {"bf16", DType::bf16}, {"q8_0", DType::q8_0}, {"q4_0", DType::q4_0}};

DType parse_type(const std::string& name) {
  for (const auto& [known, type] : kTypes)
    if (known == name) return type;
  fail(ErrorKind::usage, "--type is '", name, "'; expected f32, f16, bf16, q8_0 or q4_0");
}

std::string as_text(const Json& json) {
  std::string types;
  for (const auto& [type, count] : json["tensors"].items())
    types += (types.empty() ? "" : ", ") + count.dump() + " " + type;
  std::string text = json["output"].get<std::string>() + ": " + json["architecture"].get<std::string>() + ", " +
                     counted(json["layers"].get<std::int64_t>(), "layer") + ", " +
                     format_count(json["parameters"].get<double>()) + " parameters, " +
                     format_bytes(json["bytes"].get<std::uint64_t>()) + " (tensors: " + types + ")\n";
  for (const Json& note : json["notes"]) text += note.get<std::string>() + "\n";
  return text;
}

Output run(const Options& options) {
  ExportOptions wanted;
  wanted.type = parse_type(options.type);
  wanted.context = options.context;
  wanted.overwrite = options.overwrite ? Overwrite::yes : Overwrite::no;
  Placement placement = start(options.common);
  if (options.common.dtype == "auto") placement.dtype = torch::kFloat;  // the comparison sees the file's rounding only
  const Stopwatch watch;
  const auto checkpoint = open_checkpoint(options.model);
  check_writes_text(*checkpoint, "`streamline chip export --gguf` writes it, from the model and its chips");
  const Model source = Model::open(checkpoint, placement);
  check_export(source.config(), wanted, source.checkpoint().label());
  add_gguf_vocabulary(source.checkpoint().files(), source.config().vocab, wanted.vocabulary);
  const ExportedGguf exported = export_gguf(source, options.gguf, wanted);
  Json json = {{"run", computing_record(placement, options.common.seed)},
               {"output", options.gguf},
               {"architecture", exported.architecture},
               {"type", options.type},
               {"layers", exported.layers},
               {"parameters", exported.parameters},
               {"bytes", exported.bytes},
               {"tensors", exported.tensors},
               {"notes", exported.notes},
               {"largest_logit_difference", exported.largest_logit_difference},
               {"seconds", watch.seconds()}};
  std::string text = as_text(json);
  return {std::move(json), std::move(text)};
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  add_model(arguments, options->model);
  arguments.add("--gguf", options->gguf, "the file to write, NAME.gguf", {.required = true});
  arguments.add("--type", options->type, "of the matrices: f32, f16, bf16, q8_0, q4_0", {.any_case = true});
  arguments.add("--context", options->context, "positions that the file claims; 0: those of the model");
  arguments.flag("--overwrite", options->overwrite, "replace an existing file");
  add_compute_options(arguments, options->common);
  return [options] { return run(*options); };
}

}  // namespace

const Command& command() {
  static const Command declared{"export", "write a checkpoint as a GGUF file for llama.cpp",
                                "  streamline export models/books-5m --gguf books-5m-q8_0.gguf --type q8_0\n", declare};
  return declared;
}

}  // namespace streamline::cli::export_command
