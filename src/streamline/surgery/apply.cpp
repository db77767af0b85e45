// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/apply.h"

#include "streamline/arch/config_write.h"
#include "streamline/base/error.h"
#include "streamline/plan/plan_base.h"
#include "streamline/plan/stack.h"
#include "streamline/surgery/apply_gguf.h"
#include "streamline/surgery/decilm_code.h"
#include "streamline/surgery/finish.h"
#include "streamline/surgery/follow.h"
#include "streamline/surgery/origin.h"
#include "streamline/surgery/result.h"
#include "streamline/surgery/side_files.h"
#include "streamline/surgery/verify.h"

namespace streamline {

namespace fs = std::filesystem;

namespace {

void check_plan(const Model& source, const Plan& plan, const Replacements& replacements) {
  validate(plan);
  const std::string label = source.checkpoint().label();
  check_plan_layers(plan, source.layer_count(), label);
  if (!plan.base.digest.empty() && plan.base.digest != source.checkpoint().digest()) {
    fail(ErrorKind::mismatch, label, ": the plan was made for other weights",
         plan.base.model.empty() ? "" : " (" + plan.base.model + ")", "; digest ", plan.base.digest, " expected");
  }
  source.check_masks(plan);
  for (const std::int64_t s : missing_weights(plan, replacements)) {
    const Segment& segment = plan.segments[s];
    fail(ErrorKind::mismatch, "plan: layers ", segment.first, "..", segment.last, " are replaced by ",
         segment.replacement, ", but there are no weights for it");
  }
}

// What there is of the format beside the tensors.
void write_format(const Model& source, LayerForm form, const std::vector<LayerOrigin>& layers, Format asked,
                  Json& config, OutputDirectory& directory, AppliedPlan& applied) {
  applied.format = form_name(layer_form(config_from_json(config, "config.json")));
  applied.ordinary = applied.format == form_name(LayerForm::ordinary);
  const bool has_code = layer_form(source.config()) == LayerForm::decilm && config.contains("auto_map");
  if (form == LayerForm::decilm && !has_code) write_decilm_code(config, directory);
  if (!needs_extension(source.config(), layers)) return;
  if (asked == Format::ordinary)
    fail(ErrorKind::unsupported, source.checkpoint().label(),
         ": the replacement is no layer that ordinary checkpoints have; choose another (layer, swiglu-residual), or ",
         "the format auto");
  applied.ordinary = false;
  applied.format = "extension";
  config.erase("auto_map");  // remote code would build the model without the extension
}

// As it was measured: with biases that were added to it (heal/added_biases.h) it has more.
std::int64_t source_parameters(const Model& source, const Json& provenance) {
  const Json::json_pointer measured("/models/0/parameters");
  return provenance.contains(measured) ? provenance[measured].get<std::int64_t>() : source.parameters();
}

// Layers that are the source's as they were need not be run to see that they are.
Checked what_settles(const Model& source, const std::vector<OutputLayer>& layers, const ApplyOptions& options) {
  const bool copied = !source.has_changes() && !options.edit && std::ranges::all_of(layers, &OutputLayer::untouched);
  return copied ? Checked::tensors : Checked::logits;
}

}  // namespace

std::string_view checked_name(Checked checked) {
  constexpr std::array<std::string_view, 3> kNames = {"files", "tensors", "logits"};
  return kNames[static_cast<std::size_t>(checked)];
}

std::vector<std::int64_t> missing_weights(const Plan& plan, const Replacements& replacements) {
  std::vector<std::int64_t> missing;
  for (std::size_t s = 0; s < plan.segments.size(); ++s) {
    const auto index = static_cast<std::int64_t>(s);
    if (plan.segments[s].action == Action::replace && replacements.count(index) == 0) missing.push_back(index);
  }
  return missing;
}

torch::ScalarType stored_type(const Config& config) {
  struct Name {
    std::string_view name;
    torch::ScalarType type;
  };
  constexpr std::array kNames = {Name{"float32", torch::kFloat32}, Name{"float16", torch::kFloat16},
                                 Name{"bfloat16", torch::kBFloat16}};
  for (const Name& known : kNames) {
    if (known.name == config.dtype) return known.type;
  }
  fail(ErrorKind::unsupported, "config.json: dtype '", config.dtype,
       "' cannot hold trained weights; expected float32, float16 or bfloat16");
}

LayerWeights as_stored(const LayerWeights& weights, const Config& config) {
  return copy_to(weights, torch::kCPU, stored_type(config));
}

void check_applicable(const Checkpoint& source, const fs::path& out) {
  if (!source.is_safetensors()) return check_gguf_target(source, out);
  if (out.extension() == ".gguf")
    fail(ErrorKind::usage, out.string(), ": the result of a Hugging Face checkpoint is a directory; ",
         "`streamline export` makes a GGUF file of it");
  check_target(source, out);
}

AppliedPlan apply_plan(const Model& source, const Plan& plan, const Replacements& replacements, const fs::path& out,
                       const ApplyOptions& options) {
  check_applicable(source.checkpoint(), out);
  check_plan(source, plan, replacements);
  const LayerForm form = resolve_form(source.checkpoint(), source.config(), options.format);
  if (!source.checkpoint().is_safetensors()) return apply_gguf(source, plan, replacements, out, options);
  const Plan whole = completed_plan(source.checkpoint(), plan);
  Replacements stored;
  for (const auto& [segment, weights] : replacements) stored[segment] = as_stored(weights, source.config());

  OutputDirectory directory(out, options.overwrite);
  Result result = lay_out(source, whole, stored, form);
  check_space(directory, data_bytes(result.tensors), out);
  const Json provenance = provenance_of(whole);
  const LayerStack stack = layer_stack(source.config());
  const std::vector<OutputLayer> layers = output_layers(source.config(), whole);
  const LayerMap map = layer_map(source.layer_count(), layers);
  AppliedPlan applied{.notes = std::move(result.notes)};
  Json config = output_config(source.config(), result.layers, provenance, form);
  follow_layers(stack, map, config, applied.notes);
  exempt_replacements(layers, stack, result.tensors, config);
  const FileSet& files = source.checkpoint().files();
  if (options.edit) options.edit(result.tensors, config);
  copy_side_files(files, source.checkpoint().config(), directory);
  write_format(source, form, result.layers, options.format, config, directory, applied);
  write_quantization_files(files, stack, map, directory);
  if (options.repeatable) write_plan_bundle(directory, whole, stored, source.masks().get());
  write_tensors(directory, result.tensors,
                {.max_shard_size = options.max_shard_size, .metadata = metadata_of(provenance)});
  directory.write("config.json", dump_json(config));
  const Config written = config_from_json(config, "config.json");
  applied.converts = llama_cpp_note(written).empty();
  for (std::string& note : loading_notes(written)) applied.notes.push_back(std::move(note));
  verify_result(source.view(whole, stored), result.tensors,
                options.check.value_or(what_settles(source, layers, options)), directory.staging(), applied);
  finish_result(directory, out, source.checkpoint(), whole, applied, options,
                {.layers_before = source.layer_count(),
                 .parameters_before = source_parameters(source, options.provenance),
                 .repeatable = options.repeatable,
                 .multimodal = source.config().multimodal});
  return applied;
}

}  // namespace streamline
