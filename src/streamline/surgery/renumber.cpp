// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/renumber.h"

#include <algorithm>
#include <iterator>

#include "streamline/arch/config_write.h"
#include "streamline/arch/extension.h"
#include "streamline/arch/layer_lists.h"
#include "streamline/arch/layer_stack.h"
#include "streamline/arch/multimodal.h"
#include "streamline/arch/quantization.h"
#include "streamline/base/error.h"
#include "streamline/plan/plan_base.h"
#include "streamline/surgery/finish.h"
#include "streamline/surgery/follow.h"
#include "streamline/surgery/format.h"
#include "streamline/surgery/origin.h"
#include "streamline/surgery/result.h"
#include "streamline/surgery/side_files.h"
#include "streamline/surgery/verify.h"

namespace streamline {

namespace fs = std::filesystem;

namespace {

void check_format(const Checkpoint& source, Format format) {
  if (format != Format::automatic)
    fail(ErrorKind::usage, source.label(),
         ": is cut by names alone and stays in the form that it has; leave out --format");
}

void check_plan(const Checkpoint& source, const LayerStack& stack, const Plan& plan) {
  validate(plan);
  check_plan_layers(plan, stack.layers, source.label());
  if (!plan.slices.empty())
    fail(ErrorKind::unsupported, source.label(),
         ": the plan slices layers; by names alone only whole layers can be dropped");
  if (plan.masks)
    fail(ErrorKind::unsupported, source.label(),
         ": the plan masks weights; by names alone only whole layers can be dropped");
  for (const Segment& segment : plan.segments) {
    if (segment.action == Action::drop_attention || segment.action == Action::drop_mlp)
      fail(ErrorKind::unsupported, source.label(), ": the plan drops a half of layers ", segment.first, "..",
           segment.last, "; by names alone only whole layers can be dropped");
    if (segment.action == Action::replace)
      fail(
          ErrorKind::unsupported, source.label(), ": layers ", segment.first, "..", segment.last,
          " are replaced in this plan, and a replacement cannot be added to weights that this program does not compute "
          "with; apply the plan to the checkpoint that this one was made from and quantise the result");
  }
}

std::vector<TensorSource> renumbered_tensors(const Checkpoint& source, const LayerStack& stack, const LayerMap& map) {
  std::vector<TensorSource> tensors;
  std::vector<std::vector<TensorSource>> layers(static_cast<std::size_t>(map.after() + stack.further));
  for (const TensorInfo& tensor : source.tensors()) {
    const auto found = parse_stack_tensor(stack, tensor.name);
    if (!found) {
      tensors.push_back(copied(source, tensor, tensor.name));
    } else if (const auto place = map.place(found->layer)) {
      layers[static_cast<std::size_t>(*place)].push_back(copied(
          source, tensor, std::string(stack.prefix).append(std::to_string(*place)).append(".").append(found->suffix)));
    }
  }
  for (std::vector<TensorSource>& layer : layers) std::move(layer.begin(), layer.end(), std::back_inserter(tensors));
  return tensors;
}

// The family's own reading of config.json, where it has one.
std::optional<Config> family_config(const Checkpoint& source, const LayerStack& stack) {
  try {
    Config config = config_from_json(source.config(), source.config_label());
    if (config.text_key == stack.text_key) return config;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
  }
  return std::nullopt;
}

std::vector<LayerOrigin> origins_of(const LayerMap& map) {
  std::vector<LayerOrigin> origins;
  for (const std::int64_t origin : map.origins) origins.push_back({.source = origin});
  return origins;
}

// What was written is what was meant: the same tensors, and a stack of the right height.
void verify(const fs::path& directory, const std::vector<TensorSource>& meant, const LayerMap& map,
            AppliedPlan& applied) {
  const auto written = Checkpoint::open(directory);
  if (find_layer_stack(*written).layers != map.after() || !has_tensors(*written, meant))
    fail(ErrorKind::internal, "the written checkpoint did not pass its check and was removed; please report it");
  applied.checked = Checked::tensors;
  applied.layers = map.after();
  applied.bytes = written->total_bytes();
}

std::vector<std::string> opening_notes(const Checkpoint& source, const LayerStack& stack, const LayerMap& map) {
  const std::string method = quantization_method(source);
  std::vector<std::string> notes = {"by names alone: the bytes of every surviving tensor are the source's" +
                                    (method.empty() ? std::string() : " (" + method + ")") +
                                    "; whatever loads the source loads the result"};
  if (stack.further > 0)
    notes.push_back("layers " + std::to_string(map.before) + ".." + std::to_string(map.before + stack.further - 1) +
                    " predict tokens beyond the next; they follow the shorter stack");
  return notes;
}

}  // namespace

Json renumbered_config(const Checkpoint& source, const LayerStack& stack, const LayerMap& map, const Json& provenance,
                       std::vector<std::string>& notes) {
  Json config = source.config();
  if (const std::optional<Config> known = family_config(source, stack)) {
    config = output_config(*known, origins_of(map), provenance);
  } else {
    config.erase("_name_or_path");
    const auto changed = renumber_layer_lists(text_config(config, stack), stack, map);
    notes.insert(notes.end(), changed.begin(), changed.end());
    write_extension({}, provenance, config);
  }
  follow_layers(stack, map, config, notes);
  return config;
}

AppliedPlan apply_by_names(const std::shared_ptr<const Checkpoint>& source, const Plan& plan, const fs::path& out,
                           const ApplyOptions& options) {
  check_applicable(*source, out);
  check_format(*source, options.format);
  const LayerStack stack = find_layer_stack(*source);
  check_plan(*source, stack, plan);
  const Plan whole = completed_plan(*source, plan);
  const LayerMap map = layer_map(stack.layers, lower(whole));
  const Json provenance = provenance_of(whole);
  AppliedPlan applied{.notes = opening_notes(*source, stack, map), .computed = false};
  const Json config = renumbered_config(*source, stack, map, provenance, applied.notes);
  if (family_config(*source, stack))
    if (std::string note = llama_cpp_note(config_from_json(config, "config.json")); !note.empty()) {
      applied.converts = false;
      applied.notes.push_back(std::move(note));
    }

  OutputDirectory directory(out, options.overwrite);
  const std::vector<TensorSource> tensors = renumbered_tensors(*source, stack, map);
  check_space(directory, data_bytes(tensors), out);
  copy_side_files(source->files(), source->config(), directory);
  write_quantization_files(source->files(), stack, map, directory);
  write_plan_bundle(directory, whole, {});
  write_tensors(directory, tensors, {.max_shard_size = options.max_shard_size, .metadata = metadata_of(provenance)});
  directory.write("config.json", dump_json(config));
  verify(directory.staging(), tensors, map, applied);
  finish_result(directory, out, *source, whole, applied, options,
                {.layers_before = stack.layers, .multimodal = is_multimodal(source->config())});
  return applied;
}

}  // namespace streamline
