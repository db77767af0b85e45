// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/apply_gguf.h"

#include "streamline/arch/gguf_layout.h"
#include "streamline/arch/gguf_limits.h"
#include "streamline/arch/gguf_names.h"
#include "streamline/arch/gguf_slice.h"
#include "streamline/arch/layer_slice.h"
#include "streamline/base/error.h"
#include "streamline/plan/stack.h"
#include "streamline/surgery/fold.h"
#include "streamline/surgery/gguf_cut.h"
#include "streamline/surgery/gguf_general.h"
#include "streamline/surgery/gguf_output.h"
#include "streamline/surgery/halves.h"
#include "streamline/surgery/origin.h"
#include "streamline/surgery/widths.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

// A layer of the result: halves of the source's layers, with what stays inside them, or a replacement with the tensors
// that it was folded into.
struct OutputSource {
  std::int64_t source = 0, mlp = 0;
  LayerConfig whole = {};  // before it was sliced
  LayerSlice slice = {};   // padded to the widths of the result
  std::shared_ptr<const Checkpoint> folded = {};
};

LayerConfig whole_layer(const Config& config, std::int64_t source, std::int64_t mlp) {
  LayerConfig layer = config.layers[static_cast<std::size_t>(source)];
  layer.mlp = config.layers[static_cast<std::size_t>(mlp)].mlp;
  return layer;
}

[[noreturn]] void refuse_slices(const std::string& what, const std::string& instead) {
  fail(ErrorKind::unsupported, what, "; ", instead,
       " or apply the plan to the checkpoint that the file was made from, and export the result");
}

// What no slice of a GGUF file can be.
void check_sliceable(const Config& config, bool channels) {
  if (config.family->traits.block_configs)
    refuse_slices("layers of a GGUF file that have widths of their own are not sliced", "drop whole layers,");
  for (std::size_t i = 0; channels && i < config.layers.size(); ++i)
    if (config.layers[i].mlp && config.layers[i].mlp->experts)
      refuse_slices("layer " + std::to_string(i) + " has experts, whose channels lie in one tensor of a GGUF file",
                    "slice heads alone,");
}

std::string block_text(DType dtype) {
  return "blocks of " + std::to_string(dtype_block(dtype).elements) + " (" + std::string(dtype_name(dtype)) + ")";
}

// How a layer of the result is cut. `shape`: its widths.
LayerSlice written_slice(const LayerConfig& whole, const OutputLayer& layer, const LayerConfig& shape) {
  return padded_slice(whole, layer.slice, shape.attention ? shape.attention->kv_heads : 0,
                      shape.mlp ? shape.mlp->intermediate : 0);
}

DType storage_type(const std::string& dtype) {
  if (dtype == "float32") return DType::f32;
  return dtype == "bfloat16" ? DType::bf16 : DType::f16;
}

// Tensors in memory as a checkpoint of their own.
std::shared_ptr<const Checkpoint> in_memory(const std::vector<TensorSource>& tensors) {
  Checkpoint::Parts parts{.label = "the replacement",
                          .files = memory_files("the replacement", {}),
                          .config = {},
                          .tensors = {},
                          .blobs = {}};
  for (const TensorSource& tensor : tensors) {
    TensorInfo info;
    info.name = info.file = tensor.header.name;
    info.dtype = tensor.header.dtype;
    info.shape = tensor.header.shape;
    info.size = tensor.header.size();
    parts.tensors.push_back(std::move(info));
    parts.blobs.emplace_back(tensor.header.name, tensor.bytes());
  }
  return Checkpoint::of(std::move(parts));
}

OutputSource folded_layer(const Config& config, const LayerWeights& weights, const OutputLayer& layer,
                          std::int64_t index, std::vector<std::string>& notes) {
  check_gguf_replacement(config, weights.config, layer.source);
  const FoldedLayer folded = fold_layer(config, weights, layer.source, index);
  if (!folded.note.empty()) notes.push_back(folded.note);
  notes.push_back("layer " + std::to_string(index) + " was trained; its matrices are stored as " +
                  std::string(dtype_name(storage_type(config.dtype))));
  return {.source = folded.source,
          .mlp = folded.source,
          .whole = config.layers[static_cast<std::size_t>(folded.source)],
          .folded = in_memory(folded.tensors)};
}

// Whether a layer of the result has the halves that it has in the source. Where layers have widths of their own, those
// are cut by layer, so that no two halves of different layers are joined.
bool as_in_source(const Config& config, const OutputLayer& layer) {
  if (!config.family->traits.block_configs) return layer.whole();
  const LayerConfig& source = config.layers[static_cast<std::size_t>(layer.source)];
  return layer.source == layer.mlp_source && layer.attention == source.attention.has_value() &&
         layer.mlp == source.mlp.has_value();
}

// The layers of a result before anything is trained: a replacement has the shape that it will be folded into.
std::vector<OutputSource> planned_layers(const Config& config, const Plan& plan,
                                         const std::vector<OutputLayer>& stack) {
  std::vector<OutputSource> layers;
  for (const OutputLayer& layer : stack) {
    const std::int64_t mould = layer.replaced ? mould_near(config, layer.source) : -1;
    const std::int64_t source = mould >= 0 ? mould : layer.source;
    const std::int64_t mlp = layer.replaced ? source : layer.mlp_source;
    OutputSource made{.source = source, .mlp = mlp, .whole = whole_layer(config, source, mlp)};
    if (!layer.replaced && !plan.slices.empty())
      made.slice = written_slice(made.whole, layer, stored_shape_of(config, stack, layer, LayerForm::ordinary));
    layers.push_back(std::move(made));
  }
  return layers;
}

std::vector<OutputSource> result_layers(const Config& config, const Plan& plan, const Replacements& replacements,
                                        std::vector<std::string>& notes) {
  const std::vector<OutputLayer> stack = output_layers(config, plan);
  std::vector<OutputSource> layers = planned_layers(config, plan, stack);
  for (std::size_t i = 0; i < stack.size(); ++i)
    if (stack[i].replaced)
      layers[i] =
          folded_layer(config, replacements.at(stack[i].segment), stack[i], static_cast<std::int64_t>(i), notes);
  for (std::string& note : width_notes(config, stack, LayerForm::ordinary)) notes.push_back(std::move(note));
  if (std::string note = packing_note(stack, LayerForm::ordinary); !note.empty()) notes.push_back(std::move(note));
  return layers;
}

Config result_config(const Config& source, const std::vector<OutputSource>& layers) {
  Config config = source;
  config.layers.clear();
  for (const OutputSource& layer : layers) config.layers.push_back(sliced_layer(layer.whole, layer.slice));
  return config;
}

GgufTensor kept(const GgufPart& part, const TensorInfo& tensor, std::string name) {
  const auto bytes = part.blob.bytes.subspan(tensor.offset, tensor.size);
  return {
      .name = std::move(name), .dtype = tensor.dtype, .shape = tensor.shape, .write = [bytes](const ByteSink& sink) {
        sink(bytes);
      }};
}

// The same without what a slice takes.
GgufTensor kept_of_layer(const GgufPart& part, const TensorInfo& tensor, const GgufTensorName& place,
                         const OutputSource& layer, std::string name) {
  std::optional<TensorCut> cut;
  if (!place.experts) cut = tensor_cut(layer.whole, layer.slice, place.role, place.part);
  if (!cut) return kept(part, tensor, std::move(name));
  if (!takes_whole_blocks(tensor.dtype, *cut))
    refuse_slices(tensor.name + ": what stays of its columns is no whole " + block_text(tensor.dtype),
                  place.role == Role::o ? "slice channels alone," : "keep channels that are,");
  return cut_gguf_tensor(part.blob.bytes.subspan(tensor.offset, tensor.size), tensor, std::move(name), *std::move(cut));
}

// Tensors of no layer and then the layers in order, each in the order of the file.
std::vector<GgufTensor> output_tensors(const std::vector<GgufPart>& parts, const Config& config,
                                       const std::vector<OutputSource>& layers) {
  std::vector<GgufTensor> tensors;
  std::vector<std::vector<GgufTensor>> by_layer(layers.size());
  for (const GgufPart& part : parts)
    for (const TensorInfo& tensor : part.gguf.tensors) {
      const auto name = parse_gguf_tensor(*config.family, tensor.name);  // nullopt: factors of the rotary embedding
      if (!name || name->layer < 0) {
        tensors.push_back(kept(part, tensor, tensor.name));
        continue;
      }
      for (std::size_t i = 0; i < layers.size(); ++i)
        if ((is_attention_role(name->role) ? layers[i].source : layers[i].mlp) == name->layer && !layers[i].folded)
          by_layer[i].push_back(kept_of_layer(
              part, tensor, *name, layers[i],
              gguf_tensor_name(*config.family, static_cast<std::int64_t>(i), name->role, name->part, name->experts)));
    }
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].folded != nullptr)
      for (const GgufLayoutTensor& tensor : gguf_layer(*layers[i].folded, config, static_cast<std::int64_t>(i)))
        by_layer[i].push_back(gguf_tensor(
            *layers[i].folded, tensor, gguf_stored_type(tensor, storage_type(config.dtype)), torch::get_num_threads()));
    tensors.insert(tensors.end(), by_layer[i].begin(), by_layer[i].end());
  }
  return tensors;
}

std::string window_list_key(const Config& config) {
  return std::string(config.family->gguf.arch) + ".attention.sliding_window_pattern";
}

void check_slices(const Config& config, const Plan& plan) {
  if (!plan.slices.empty())
    check_sliceable(config,
                    std::ranges::any_of(plan.slices, [](const auto& slice) { return !slice.second.channels.empty(); }));
}

// What llama.cpp would take for another model, whatever stands in the layers' tensors.
void check_result(const Checkpoint& checkpoint, const Config& config, const Gguf& gguf) {
  const std::string where = checkpoint.label() + ": a GGUF file cannot hold what this cut leaves";
  const GgufEntry* list = gguf.find(window_list_key(config));
  check_gguf_limits(config, config.max_positions, where,
                    list != nullptr && list->type == GgufType::array ? WindowList::yes : WindowList::no);
  check_gguf_scores(config, where);
}

// The widths of the sliced layers, which are one for all.
void write_gguf_widths(const Config& config, const std::vector<OutputSource>& layers, GgufFields& fields) {
  const std::string prefix = std::string(config.family->gguf.arch) + ".";
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerConfig& layer = config.layers[i];
    if (layers[i].slice.kv_heads) {
      fields.u32(prefix + "attention.head_count", layer.attention->heads);
      fields.u32(prefix + "attention.head_count_kv", layer.attention->kv_heads);
      fields.u32(prefix + "attention.key_length", layer.attention->head_dim);
      fields.u32(prefix + "attention.value_length", layer.attention->head_dim);
    }
    if (!layers[i].slice.channels.empty()) fields.u32(prefix + "feed_forward_length", layer.mlp->intermediate);
  }
}

GgufFields output_fields(const Gguf& gguf, const Config& config, const Plan& plan,
                         const std::vector<OutputSource>& layers, const std::vector<GgufTensor>& tensors,
                         std::vector<std::string>& notes) {
  std::vector<std::int64_t> sources;
  for (const OutputSource& layer : layers) sources.push_back(layer.source);
  GgufFields fields = sliced_gguf_metadata(gguf, sources, notes);
  // A period as a number stays right where the result still has it, which was checked.
  if (const GgufEntry* list = gguf.find(window_list_key(config)); list != nullptr && list->type == GgufType::array)
    fields.booleans(window_list_key(config), sliding_layers(config));
  if (config.family->gguf.sparse_steps)
    fields.u32(std::string(config.family->gguf.arch) + ".interleave_moe_layer_step", sparse_step(config));
  write_gguf_widths(config, layers, fields);
  std::vector<std::vector<std::int64_t>> shapes;
  for (const GgufTensor& tensor : tensors) shapes.push_back(tensor.shape);
  fields.string("general.size_label", gguf_size_label(shapes, config));
  fields.string("general.description", "made smaller by streamline.cpp: " + summary(plan));
  if (gguf.find("general.base_model.count") == nullptr) {
    fields.u32("general.base_model.count", 1);
    fields.string("general.base_model.0.name", gguf.string("general.name").value_or(std::string_view(plan.base.model)));
  }
  return fields;
}

double gguf_tolerance(torch::ScalarType type) {
  return type == torch::kFloat || type == torch::kDouble ? 1e-4 : type == torch::kHalf ? 1e-2 : 3e-2;
}

}  // namespace

void check_gguf_target(const Checkpoint& source, const fs::path& out) {
  if (out.extension() != ".gguf")
    fail(ErrorKind::usage, out.string(), ": the result of a GGUF file is one too; its name must end in .gguf");
  std::error_code error;
  for (const std::string& name : source.files().names()) {
    const fs::path directory = fs::path(source.label()).parent_path();
    for (const fs::path& file : {fs::path(source.files().label()) / name, directory / name})
      if (fs::equivalent(file, out, error) && !error)
        fail(ErrorKind::usage, out.string(), ": the target is the source; choose another name");
  }
}

void check_gguf_replacement(const Config& config, const LayerConfig& layer, std::int64_t first) {
  for (const LayerConfig& mould : config.layers)
    if (mould.whole() && folds_into(layer, mould)) return;
  fail(ErrorKind::unsupported, "the replacement of layer ", first, " is no layer that llama.cpp's '",
       config.family->gguf.arch, "' computes; choose another replacement (layer, swiglu-residual)");
}

void check_gguf_halves(const Config& config, const Plan& plan) {
  for (const OutputLayer& layer : output_layers(config, plan))
    if (!layer.replaced && !as_in_source(config, layer))
      fail(ErrorKind::unsupported, "plan: the half that is left of layer ",
           layer.attention ? layer.source : layer.mlp_source,
           " has no partner, and the other half of it cannot be made zero in a GGUF file; drop whole layers");
}

void check_gguf_halves(bool attention, bool mlp) {
  if (attention == mlp) return;  // none, or both: the plan decides
  fail(ErrorKind::unsupported, "layers that lose their ", attention ? "attention" : "MLP",
       " alone cannot be written as a GGUF file, in which no other half takes its place; drop whole layers, or prune "
       "the checkpoint that the file was made from, and export the result");
}

void check_gguf_slices(const Model& source, bool heads, bool channels) {
  const Config& config = source.config();
  if (heads || channels) check_sliceable(config, channels);
  if (const GgufTraits& traits = config.family->gguf; heads && traits.square_attention)
    refuse_slices("llama.cpp's '" + std::string(traits.arch) +
                      "' takes for granted that all heads are as wide as the hidden states",
                  "take channels alone (--inside channels),");
  const auto stored = [&](std::size_t layer, Role role) {
    const auto* tensor = find_tensor(source.checkpoint(), config, static_cast<std::int64_t>(layer), role, Part::weight);
    return tensor != nullptr ? tensor->dtype : DType::f32;
  };
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const LayerConfig& layer = config.layers[i];
    const std::string name = "layer " + std::to_string(i);
    if (const DType type = stored(i, Role::down); channels && layer.mlp && is_quantised(type))
      refuse_slices(name + ": channels lie in " + block_text(type) + ", through which no method's choice may cut",
                    "take heads alone (--inside heads),");
    if (!heads || !layer.attention) continue;
    const AttentionConfig& attention = *layer.attention;
    const DType type = stored(i, Role::o);
    const std::int64_t group = attention.heads / attention.kv_heads * attention.head_dim;
    if (group % static_cast<std::int64_t>(dtype_block(type).elements) != 0)
      refuse_slices(
          name + ": a group of heads has " + std::to_string(group) + " columns, which are no whole " + block_text(type),
          "take channels alone (--inside channels) where they are not quantised,");
  }
}

void check_gguf_cut(const Model& source, const Plan& plan) {
  const Checkpoint& checkpoint = source.checkpoint();
  const Config& config = source.config();
  check_slices(config, plan);
  check_gguf_halves(config, plan);
  const std::vector<GgufPart> parts = open_gguf(checkpoint.files(), find_gguf(checkpoint.files()));
  check_result(checkpoint, result_config(config, planned_layers(config, plan, output_layers(config, plan))),
               parts.front().gguf);
}

AppliedPlan apply_gguf(const Model& source, const Plan& plan, const Replacements& replacements, const fs::path& out,
                       const ApplyOptions& options) {
  SL_ASSERT(!source.has_changes());  // what survives is copied from the file
  const Checkpoint& checkpoint = source.checkpoint();
  const Plan whole = completed_plan(checkpoint, plan);
  check_slices(source.config(), whole);
  check_gguf_halves(source.config(), whole);
  Replacements stored;
  for (const auto& [segment, weights] : replacements) stored[segment] = as_stored(weights, source.config());
  AppliedPlan applied;
  const std::vector<OutputSource> layers = result_layers(source.config(), whole, stored, applied.notes);
  const Config config = result_config(source.config(), layers);
  const std::vector<GgufPart> parts = open_gguf(checkpoint.files(), find_gguf(checkpoint.files()));
  check_result(checkpoint, config, parts.front().gguf);
  const std::vector<GgufTensor> tensors = output_tensors(parts, config, layers);
  const GgufFields fields = output_fields(parts.front().gguf, config, whole, layers, tensors, applied.notes);

  GgufOutput output(out, options.overwrite);
  const Model view = source.view(whole, stored);
  output.write(fields, tensors);
  applied.layers = static_cast<std::int64_t>(layers.size());
  for (const GgufTensor& tensor : tensors) applied.bytes += tensor.size();
  applied.parameters = total_parameters(config);
  if (options.check != Checked::files) {
    applied.checked = Checked::logits;
    applied.largest_logit_difference = output.check(view, {.logits = gguf_tolerance(view.placement().dtype)});
  }
  applied.notes.push_back("a GGUF file of the architecture '" + std::string(config.family->gguf.arch) +
                          "': llama.cpp loads it wherever it loads the source");
  write_plan_files(output.directory(),
                   {.plan = "plan.json",
                    .weights = "replacement.safetensors",
                    .weights_in_plan = output.name_beside("replacement.safetensors")},
                   whole, stored);
  if (options.finish) options.finish(output.directory(), applied);
  output.commit();
  return applied;
}

}  // namespace streamline
