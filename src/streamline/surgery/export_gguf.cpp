// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/export_gguf.h"

#include "streamline/arch/companions.h"
#include "streamline/arch/gguf_layout.h"
#include "streamline/arch/gguf_limits.h"
#include "streamline/arch/gguf_metadata.h"
#include "streamline/base/error.h"
#include "streamline/base/number_text.h"
#include "streamline/io/gguf_writer.h"
#include "streamline/surgery/gguf_general.h"
#include "streamline/surgery/gguf_output.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;
constexpr std::int64_t kQuantisationVersion = 2;  // of the layouts of quantised blocks

// "general.file_type" of a file whose matrices have this type.
std::int64_t file_type(DType type) {
  struct Row {
    DType type;
    std::int64_t number;
  };
  constexpr Row kRows[] = {{DType::f32, 0}, {DType::f16, 1}, {DType::q4_0, 2}, {DType::q8_0, 7}, {DType::bf16, 32}};
  for (const Row& row : kRows)
    if (row.type == type) return row.number;
  fail(ErrorKind::usage, "matrices cannot be written as ", dtype_name(type),
       "; f32, f16, bf16, q8_0 and q4_0 are possible");
}

std::int64_t resolve_context(const Config& config, std::int64_t context, const std::string& where) {
  if (context < 0 || (config.max_positions > 0 && context > config.max_positions))
    fail(ErrorKind::usage, where, ": has ", config.max_positions, " positions; --context is ", context);
  const std::int64_t positions = context > 0 ? context : config.max_positions;
  if (positions < 1) fail(ErrorKind::usage, where, ": does not say how many positions it has; pass --context");
  return positions;
}

GgufFields all_fields(const Checkpoint& checkpoint, const Config& config, const std::vector<GgufLayoutTensor>& layout,
                      std::int64_t context, const ExportOptions& options) {
  std::vector<std::vector<std::int64_t>> shapes;
  for (const GgufLayoutTensor& tensor : layout) shapes.push_back(tensor.shape);
  GgufFields fields;
  fields.string("general.architecture", config.family->gguf.arch);
  add_gguf_general(checkpoint.files(), gguf_size_label(shapes, config), fields);
  add_gguf_metadata(config, context, fields);
  fields.u32("general.file_type", file_type(options.type));
  fields.u32("general.quantization_version", kQuantisationVersion);
  for (const GgufFields* more : {&options.vocabulary, &options.fields})
    for (const GgufField& field : more->all()) fields.add(field);
  return fields;
}

void add_factors(const std::string& name, const std::vector<float>& factors, std::vector<GgufTensor>& tensors) {
  if (factors.empty()) return;
  tensors.push_back({.name = name,
                     .dtype = DType::f32,
                     .shape = {static_cast<std::int64_t>(factors.size())},
                     .write = [factors](const ByteSink& sink) { sink(std::as_bytes(std::span(factors))); }});
}

std::vector<GgufTensor> all_tensors(const Checkpoint& checkpoint, const Config& config,
                                    const std::vector<GgufLayoutTensor>& layout, DType type) {
  std::vector<GgufTensor> tensors;
  const RopeFactors factors = gguf_rope_factors(config);
  add_factors("rope_freqs.weight", factors.always, tensors);
  add_factors("rope_factors_long.weight", factors.long_text, tensors);
  add_factors("rope_factors_short.weight", factors.short_text, tensors);
  for (const GgufLayoutTensor& tensor : layout)
    tensors.push_back(gguf_tensor(checkpoint, tensor, gguf_stored_type(tensor, type), torch::get_num_threads()));
  return tensors;
}

std::vector<std::string> notes_of(const Config& config, std::int64_t context, const GgufFields& fields) {
  std::vector<std::string> notes;
  if (context < config.max_positions)
    notes.push_back("the file claims " + std::to_string(context) + " positions instead of " +
                    std::to_string(config.max_positions));
  if (const GgufField* model = fields.find("tokenizer.ggml.model"); model != nullptr && model->bytes.ends_with("none"))
    notes.emplace_back("there was no tokenizer: the file takes token ids only");
  return notes;
}

// What rounding to a type may cost; a tensor in the wrong place costs more.
AllowedDifference allowed_difference(DType type) {
  if (type == DType::f32) return {.logits = 1e-4};
  return {.layer = type == DType::q4_0 ? 0.6 : type == DType::q8_0 ? 0.1 : 0.03};
}

// Rounding that the model does not bear well is its user's to judge.
constexpr double kRemarkable = 0.1;

}  // namespace

void check_export(const Config& config, const ExportOptions& options, const std::string& where) {
  file_type(options.type);
  check_gguf_limits(config, resolve_context(config, options.context, where), where + ": cannot become a GGUF file");
}

ExportedGguf export_gguf(const Model& source, const fs::path& file, const ExportOptions& options) {
  const Checkpoint& checkpoint = source.checkpoint();
  const Config& config = source.config();
  check_export(config, options, checkpoint.label());
  check_no_side_route(checkpoint, "GGUF files cannot hold");
  const std::int64_t context = resolve_context(config, options.context, checkpoint.label());
  GgufOutput out(file, options.overwrite);
  const std::vector<GgufLayoutTensor> layout = gguf_layout(checkpoint, config, context);
  const GgufFields fields = all_fields(checkpoint, config, layout, context, options);
  std::vector<GgufTensor> tensors = all_tensors(checkpoint, config, layout, options.type);
  tensors.insert(tensors.end(), options.tensors.begin(), options.tensors.end());
  ExportedGguf result{.architecture = std::string(config.family->gguf.arch),
                      .layers = config.layer_count(),
                      .parameters = source.parameters(),
                      .tensors = {},
                      .notes = notes_of(config, context, fields)};
  for (const GgufTensor& tensor : tensors) ++result.tensors[std::string(dtype_name(tensor.dtype))];
  result.bytes = out.write(fields, tensors);
  result.largest_logit_difference = out.check(source, allowed_difference(options.type));
  if (result.largest_logit_difference > kRemarkable)
    result.notes.push_back("rounding to " + std::string(dtype_name(options.type)) + " moves logits by up to " +
                           significant(result.largest_logit_difference, 2) +
                           " of the largest: measure what is left with `streamline eval`");
  out.commit();
  return result;
}

}  // namespace streamline
