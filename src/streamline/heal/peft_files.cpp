// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/peft_files.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/engine/mapped.h"
#include "streamline/engine/tensor_file.h"
#include "streamline/io/safetensors.h"

namespace streamline {
namespace {

constexpr std::string_view kPrefix = "base_model.model.", kWeight = ".weight";
constexpr const char* kConfigFileName = "adapter_config.json";
constexpr const char* kWeightsFileName = "adapter_model.safetensors";
constexpr const char* kBaseDigest = "streamline.base_digest";  // as in the weights of results
constexpr double kDefaultAlpha = 8;                            // of PEFT's LoraConfig
// Starts that leave the base as it is. Others (pissa, olora, corda, loftq …) take from it what A and B begin with, so
// that the adapter belongs to another base.
constexpr std::array<std::string_view, 3> kPlainStarts = {"gaussian", "eva", "orthogonal"};

// What files of a family may leave out in front of its names, and modules have: GPT-2's "h." is "transformer.h.".
std::string module_prefix(const Family& family) {
  const Family* usual = find_family(family.model_types.front());
  if (usual == nullptr || !usual->layer_prefix.ends_with(family.layer_prefix)) return "";
  return std::string(usual->layer_prefix.substr(0, usual->layer_prefix.size() - family.layer_prefix.size()));
}

// "model.layers.3.mlp.down_proj"
std::string module_name(const Family& family, std::int64_t layer, Role role) {
  const std::string name = tensor_name(family, layer, role, Part::weight);
  return module_prefix(family) + name.substr(0, name.size() - kWeight.size());
}

// "mlp.down_proj": what the modules of all layers end in.
std::string target_name(const Family& family, Role role) {
  const std::string suffix = parse_layer_tensor(family, tensor_name(family, 0, role, Part::weight)).value().suffix;
  return suffix.substr(0, suffix.size() - kWeight.size());
}

struct Place {
  std::int64_t layer;
  Role role;
  bool is_a;
};

std::optional<Place> place_of(const Family& family, std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  if (!name.starts_with(module_prefix(family))) return std::nullopt;
  name.remove_prefix(module_prefix(family).size());
  for (const auto& [ending, is_a] : {std::pair{".lora_A.weight", true}, {".lora_B.weight", false}}) {
    if (!name.ends_with(ending)) continue;
    const std::string weight = std::string(name.substr(0, name.size() - std::string_view(ending).size())) + ".weight";
    const auto parsed = parse_layer_tensor(family, weight);
    if (!parsed) return std::nullopt;
    const auto role = layer_role(family, parsed->suffix);
    if (!role || tensor_name(family, parsed->layer, *role, Part::weight) != weight) return std::nullopt;
    return Place{parsed->layer, *role, is_a};
  }
  return std::nullopt;
}

AdapterOptions read_options(const Json& config, const std::string& where) {
  const auto refuse = [&](const char* key, const std::string& what) {
    fail(ErrorKind::unsupported, where, ": '", key, "' is ", what, "; only plain LoRA is read");
  };
  if (const auto type = json_string(config, "peft_type", where); type != "LORA")
    refuse("peft_type", type.value_or("?"));
  for (const char* key : {"use_dora", "use_rslora"})
    if (json_bool(config, key, where).value_or(false)) refuse(key, "true");
  for (const char* key : {"rank_pattern", "alpha_pattern"})
    if (const auto found = config.find(key); found != config.end() && !found->empty()) refuse(key, found->dump());
  if (const auto start = config.find("init_lora_weights"); start != config.end() && start->is_string())
    if (const auto name = start->get<std::string>(); std::ranges::count(kPlainStarts, name) == 0)
      refuse("init_lora_weights", name + ", which begins with another base");
  AdapterOptions options{.rank = json_integer(config, "r", where).value_or(0),
                         .alpha = json_number(config, "lora_alpha", where).value_or(kDefaultAlpha),
                         .dropout = json_number(config, "lora_dropout", where).value_or(0)};
  if (options.rank < 1) fail(ErrorKind::format, where, ": 'r' is ", options.rank, "; expected a rank of at least 1");
  return options;
}

void check_shape(const Adapter& adapter, const Family& family, const LayerWeights& layer, std::int64_t rank,
                 const std::string& where) {
  const std::string module = module_name(family, adapter.layer, adapter.role);
  if (!layer.has(adapter.role)) fail(ErrorKind::mismatch, where, ": the model has no ", module);
  const auto& weight = layer.at(adapter.role).weight;
  if (!adapter.a.defined() || !adapter.b.defined())
    fail(ErrorKind::format, where, ": ", module, " has one of lora_A and lora_B without the other");
  if (adapter.a.sizes() != torch::IntArrayRef({rank, weight.size(1)}) ||
      adapter.b.sizes() != torch::IntArrayRef({weight.size(0), rank}))
    fail(ErrorKind::mismatch, where, ": the adapter of ", module, " does not fit its matrix of ", weight.size(0), " x ",
         weight.size(1), " at rank ", rank);
}

void check_base(const PeftBase& base, const Checkpoint& checkpoint, const std::filesystem::path& directory) {
  if (base.digest.empty() || base.digest == checkpoint.digest()) return;
  fail(ErrorKind::mismatch, directory.string(), ": these adapters were trained on other weights (", base.model,
       "; digest ", base.digest, ") than those of ", checkpoint.label(),
       "; name the model that they are for, or, if this is a twin of it (quantised, fine-tuned), give --any-weights");
}

}  // namespace

void write_peft(const std::filesystem::path& directory, const Adapters& adapters, const Model& model,
                const std::string& base_model) {
  const Family& family = *model.config().family;
  NamedTensors tensors;
  std::set<std::string> targets;
  for (const Adapter& adapter : adapters.list) {
    const std::string module = std::string(kPrefix) + module_name(family, adapter.layer, adapter.role);
    tensors.emplace_back(module + ".lora_A.weight", adapter.a);
    tensors.emplace_back(module + ".lora_B.weight", adapter.b);
    targets.insert(target_name(family, adapter.role));
  }
  const AdapterOptions& options = adapters.options;
  const double alpha = options.scale() * static_cast<double>(options.rank);
  const Json config = {
      {"peft_type", "LORA"},       {"task_type", "CAUSAL_LM"}, {"base_model_name_or_path", base_model},
      {"r", options.rank},         {"lora_alpha", alpha},      {"lora_dropout", options.dropout},
      {"target_modules", targets}, {"bias", "none"},           {"fan_in_fan_out", family.traits.transposed},
      {"inference_mode", true}};
  TensorFile(tensors, {{"format", "pt"}, {kBaseDigest, model.checkpoint().digest()}})
      .write(directory / kWeightsFileName);
  write_text(directory / kConfigFileName, dump_json(config));
}

Adapters read_peft(const std::filesystem::path& directory, const Model& model, AnyWeights any_weights) {
  const std::string where = (directory / kConfigFileName).string();
  Adapters adapters{.options = read_options(parse_json(read_text(where), where), where)};
  const std::filesystem::path file = directory / kWeightsFileName;
  const Blob blob = map_file(file);
  std::map<std::pair<std::int64_t, Role>, Adapter> found;
  for (const TensorInfo& info : parse_safetensors(blob.bytes, file.string())) {
    const auto place = place_of(*model.config().family, info.name);
    if (!place)
      fail(ErrorKind::format, file.string(), ": '", info.name, "' is no LoRA matrix of a decoder layer of this model");
    Adapter& adapter = found[{place->layer, place->role}];
    adapter.layer = place->layer;
    adapter.role = place->role;
    (place->is_a ? adapter.a : adapter.b) = read_tensor(info, blob).to(torch::kFloat32);
  }
  if (found.empty()) fail(ErrorKind::format, file.string(), ": there are no adapters in it");
  std::int64_t open = -1;  // the layer whose matrices these are
  LayerWeights layer;
  for (auto& [place, adapter] : found) {
    if (adapter.layer >= model.layer_count())
      fail(ErrorKind::mismatch, file.string(), ": has adapters for layer ", adapter.layer, "; the model has ",
           model.layer_count(), " layers");
    if (adapter.layer != open) layer = model.layer(open = adapter.layer, Model::Use::once);
    check_shape(adapter, *model.config().family, layer, adapters.options.rank, file.string());
    if (std::ranges::count(adapters.options.roles, adapter.role) == 0) adapters.options.roles.push_back(adapter.role);
    adapters.list.push_back(std::move(adapter));
  }
  if (any_weights == AnyWeights::no) check_base(read_peft_base(directory), model.checkpoint(), directory);
  return adapters;
}

PeftBase read_peft_base(const std::filesystem::path& directory) {
  const std::string where = (directory / kConfigFileName).string();
  const Json config = parse_json(read_text(where), where);
  const std::filesystem::path file = directory / kWeightsFileName;
  const Blob blob = map_file(file);
  const auto metadata = safetensors_metadata(blob.bytes, file.string());
  PeftBase base;
  // Of a model that was made in memory it may be null.
  if (const auto name = config.find("base_model_name_or_path"); name != config.end() && name->is_string())
    base.model = name->get<std::string>();
  if (const auto digest = metadata.find(kBaseDigest); digest != metadata.end()) base.digest = digest->second;
  return base;
}

}  // namespace streamline
