// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/model.h"

#include <algorithm>
#include <mutex>
#include <set>

#include "streamline/arch/fp8_view.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/residency.h"
#include "streamline/engine/mapped.h"
#include "streamline/engine/memory.h"
#include "streamline/nn/halves.h"
#include "streamline/nn/linear.h"
#include "streamline/nn/norms.h"
#include "streamline/plan/plan_base.h"
#include "streamline/plan/slice.h"
#include "streamline/plan/stack.h"

namespace streamline {
namespace {

std::uint64_t size_in_bytes(const LayerWeights& weights) {
  std::uint64_t total = 0;
  for (const auto& tensor : weights.all()) total += tensor.nbytes();
  return total;
}

constexpr std::array kGlobalRoles = {Role::token_embedding, Role::position_embedding, Role::project_in,
                                     Role::project_out,     Role::final_norm,         Role::head};

// Rows of length one (Baichuan 2's head).
torch::Tensor row_normalised(const torch::Tensor& matrix) {
  const auto wide = matrix.to(accumulation_type(matrix.scalar_type()));
  return (wide / wide.norm(2, -1, /*keepdim=*/true).clamp_min(1e-12)).to(matrix.scalar_type());
}

std::shared_ptr<const Gates> joined_gates(const std::shared_ptr<const Gates>& attention,
                                          const std::shared_ptr<const Gates>& mlp) {
  if (!attention && !mlp) return nullptr;
  return std::make_shared<const Gates>(Gates{.heads = attention ? attention->heads : torch::Tensor(),
                                             .channels = mlp ? mlp->channels : torch::Tensor()});
}

// Calls visit(role, expert) for all that a layer may have, whether an ordinary one of its family or one of our
// extension; expert < 0 outside the experts.
template <class Visit>
void for_each_role(const LayerConfig& layer, Visit&& visit) {
  for (int i = static_cast<int>(kFirstLayerRole); i <= static_cast<int>(kLastRole); ++i)
    visit(static_cast<Role>(i), std::int64_t{-1});
  const bool apart = layer.mlp && layer.mlp->experts && !layer.mlp->experts->stacked;
  const std::int64_t experts = apart ? layer.mlp->experts->count : 0;
  for (std::int64_t expert = 0; expert < experts; ++expert)
    for (const Role role : {Role::gate, Role::up, Role::down}) visit(role, expert);
}

}  // namespace

struct Model::Source {
  Source(std::shared_ptr<const Checkpoint> from, Config whole, Placement where,
         std::shared_ptr<const WeightChange> changing = {})
      : checkpoint(std::move(from)),
        config(std::move(whole)),
        placement(where),
        limit(conversion_cache(where)),
        change(std::move(changing)) {}

  std::shared_ptr<const Checkpoint> checkpoint;
  Config config;
  Placement placement;
  std::uint64_t limit;
  std::shared_ptr<const WeightChange> change;

  // Conversions, kept first come: a sweep asks for the layers in turn, where dropping the least recent would never hit.
  mutable std::mutex mutex;
  mutable std::map<std::int64_t, LayerWeights> layers;
  mutable std::map<Role, RoleTensors> globals;
  mutable std::uint64_t kept = 0;

  const TensorInfo* info(std::int64_t layer, Role role, Part part) const {
    return find_tensor(*checkpoint, config, layer, role, part);
  }
  // Whether what is computed with takes memory of its own.
  bool converts(std::int64_t layer, Role role) const {
    if (changes(layer, role)) return true;
    const TensorInfo* weight = info(layer, role, Part::weight);
    return weight == nullptr || !weight->is_plain() || mapped_type(*weight) != placement.dtype ||
           !placement.device.is_cpu();
  }
  bool changes(std::int64_t layer, Role role, std::int64_t expert = -1) const {
    return change && layer >= 0 && change->touches(layer, role, expert);
  }
  // As computed with: a matrix that is stored [in, out] is turned here, a view.
  torch::Tensor stored(std::int64_t layer, Role role, Part part, std::int64_t expert = -1) const {
    const TensorInfo* found = find_tensor(*checkpoint, config, layer, role, part, expert);
    if (!found) return {};
    const bool changed = part == Part::weight && changes(layer, role, expert);
    const bool rounds = placement.device.is_cpu() && !changed;  // what is read anew, into the type that computes
    auto tensor = mapped_tensor(checkpoint, *found, rounds ? placement.dtype : torch::kFloat);
    if (is_transposed(config, layer, role, part)) tensor = tensor.t();
    return changed ? change->apply(layer, role, expert, tensor) : tensor;
  }
  torch::Tensor placed(std::int64_t layer, Role role, Part part, std::int64_t expert = -1) const {
    const auto tensor = stored(layer, role, part, expert);
    return tensor.defined() ? tensor.to(placement.device, placement.dtype) : tensor;
  }
  RoleTensors pair(std::int64_t layer, Role role) const {
    return {placed(layer, role, Part::weight), placed(layer, role, Part::bias)};
  }
  bool keep(std::uint64_t bytes) const {
    if (bytes > limit - std::min(limit, kept)) return false;
    kept += bytes;
    return true;
  }
  bool can_keep(Role role, std::uint64_t bytes) const {
    const std::lock_guard lock(mutex);
    return globals.count(role) != 0 || bytes <= limit - std::min(limit, kept);
  }
  LayerWeights load_layer(std::int64_t index) const;
  LayerWeights layer(std::int64_t index, Use use) const;
  RoleTensors global(Role role) const;
  RoleTensors head_rows(std::int64_t first, std::int64_t count) const;
};

LayerWeights Model::Source::load_layer(std::int64_t index) const {
  LayerWeights weights;
  weights.config = config.layers[static_cast<std::size_t>(index)];
  for_each_role(weights.config, [&](Role role, std::int64_t expert) {
    for (const Part part : {Part::weight, Part::bias})
      if (auto tensor = placed(index, role, part, expert); tensor.defined())
        place(weights, role, part, expert) = std::move(tensor);
  });
  return weights;
}

LayerWeights Model::Source::layer(std::int64_t index, Use use) const {
  const std::lock_guard lock(mutex);
  if (const auto found = layers.find(index); found != layers.end()) return found->second;
  LayerWeights weights = load_layer(index);
  if (use == Use::once) return weights;
  bool converted = false;
  for (const auto& [role, tensors] : weights.tensors) converted |= converts(index, role);
  if (converted && keep(size_in_bytes(weights))) layers[index] = weights;
  return weights;
}

RoleTensors Model::Source::global(Role role) const {
  const std::lock_guard lock(mutex);
  if (const auto found = globals.find(role); found != globals.end()) return found->second;
  RoleTensors tensors = pair(-1, role);
  if (tensors.weight.defined() && converts(-1, role) && keep(tensors.weight.nbytes())) globals[role] = tensors;
  return tensors;
}

// Rows first … first+count-1 of the head; of a head too large to keep converted only these are brought into the type.
RoleTensors Model::Source::head_rows(std::int64_t first, std::int64_t count) const {
  const TensorInfo& head = *info(-1, Role::head, Part::weight);
  const std::uint64_t converted = static_cast<std::uint64_t>(head.elements()) * torch::elementSize(placement.dtype);
  RoleTensors result;
  if (!converts(-1, Role::head) || can_keep(Role::head, converted)) {
    result = rows(global(Role::head), first, count);
  } else {
    const auto bias = stored(-1, Role::head, Part::bias);
    result.weight = head.is_plain() ? mapped_tensor(checkpoint, head).narrow(0, first, count)
                                    : mapped_rows(checkpoint, head, torch::arange(first, first + count, torch::kLong));
    if (bias.defined()) result.bias = bias.narrow(0, first, count);
    for (torch::Tensor* tensor : {&result.weight, &result.bias})
      if (tensor->defined()) *tensor = tensor->to(placement.device, placement.dtype);
  }
  if (config.normalised_head) result.weight = row_normalised(result.weight);
  return result;
}

Model Model::open(std::shared_ptr<const Checkpoint> checkpoint, Placement placement) {
  Model model;
  model.config_ = resolve_config(*checkpoint);
  checkpoint = fp8_view(std::move(checkpoint));
  model.checkpoint_ = checkpoint;
  model.placement_ = placement;
  model.source_ = std::make_shared<Source>(std::move(checkpoint), model.config_, placement);
  for (std::int64_t i = 0; i < model.layer_count(); ++i) model.stack_.push_back({.attention = i, .mlp = i});
  return model;
}

LayerWeights Model::layer(std::int64_t i, Use use) const {
  SL_ASSERT(i >= 0 && i < layer_count());
  const StackEntry& entry = stack_[static_cast<std::size_t>(i)];
  LayerWeights weights = ungated_layer(entry, config_.layers[static_cast<std::size_t>(i)], use);
  if (entry.gates) weights.gates = *entry.gates;
  return weights;
}

LayerWeights Model::ungated_layer(const StackEntry& entry, const LayerConfig& config, Use use) const {
  if (entry.weights) return *entry.weights;
  if (entry.attention == entry.mlp) return sliced(source_->layer(entry.mlp, use), entry.slice);
  std::optional<LayerWeights> attention, mlp;
  if (entry.attention >= 0)
    attention = sliced(source_->layer(entry.attention, use), {.kv_heads = entry.slice.kv_heads});
  if (entry.mlp >= 0) mlp = sliced(source_->layer(entry.mlp, use), {.channels = entry.slice.channels});
  return joined(config, attention ? &*attention : nullptr, mlp ? &*mlp : nullptr);
}

void Model::visit_mapped(std::int64_t i, void (*visit)(std::span<const std::byte> mapped)) const {
  const StackEntry& entry = stack_[static_cast<std::size_t>(i)];
  for (const std::int64_t layer : std::set<std::int64_t>{entry.attention, entry.mlp}) {
    if (layer < 0 || entry.weights) continue;
    for_each_role(source_->config.layers[static_cast<std::size_t>(layer)], [&](Role role, std::int64_t expert) {
      for (const Part part : {Part::weight, Part::bias})
        if (const TensorInfo* found = find_tensor(*checkpoint_, source_->config, layer, role, part, expert))
          visit(checkpoint_->mapped_bytes(*found));
    });
  }
}

void Model::forget_layers() const {
  const std::lock_guard lock(source_->mutex);
  for (const auto& [index, weights] : source_->layers) source_->kept -= size_in_bytes(weights);
  source_->layers.clear();
}

void Model::will_need_layer(std::int64_t i) const { visit_mapped(i, will_need); }

void Model::done_with_layer(std::int64_t i) const { visit_mapped(i, done_with); }

torch::Tensor Model::embed(const torch::Tensor& ids, std::int64_t first_position) const {
  return embed(ids, torch::arange(first_position, first_position + ids.size(1), torch::kLong));
}

torch::Tensor Model::embed(const torch::Tensor& ids, const torch::Tensor& positions) const {
  SL_ASSERT(ids.dim() == 2);
  const auto rows = ids.to(torch::kCPU);
  const TensorInfo& table = *source_->info(-1, Role::token_embedding, Part::weight);  // [vocab, hidden]
  if (rows.numel() > 0) {
    const std::int64_t least = rows.min().item<std::int64_t>(), most = rows.max().item<std::int64_t>();
    if (least < 0 || most >= table.shape[0])
      fail(ErrorKind::mismatch, "token id ", least < 0 ? least : most, " is outside the embedding's ", table.shape[0],
           " rows; was the text encoded with this model's tokenizer?");
  }
  auto x = mapped_rows(checkpoint_, table, rows).to(placement_.device, placement_.dtype);  // [batch, seq, width]
  if (config_.scale.embedding != 1) x = x * config_.scale.embedding;
  if (config_.projects_embeddings()) x = linear(x, source_->global(Role::project_in));
  if (config_.family->traits.position != Position::learned) return x;
  const auto table_of_positions = source_->stored(-1, Role::position_embedding, Part::weight);
  const std::int64_t offset = config_.family->traits.position_offset;
  const std::int64_t length = positions.numel() > 0 ? positions.max().item<std::int64_t>() + 1 : 0;
  if (length + offset > table_of_positions.size(0))
    fail(ErrorKind::mismatch, "a sequence of ", length, " tokens is longer than the model's ",
         table_of_positions.size(0) - offset, " learned positions; use shorter sequences");
  return x + table_of_positions.index_select(0, positions + offset).to(placement_.device, placement_.dtype);
}

torch::Tensor Model::final_norm(const torch::Tensor& hidden) const {
  const RoleTensors weights = source_->global(Role::final_norm);
  return weights.weight.defined() ? norm(config_, weights, hidden) : hidden;
}

torch::Tensor Model::head_input(const torch::Tensor& hidden) const {
  const auto normed = final_norm(hidden);
  return config_.projects_embeddings() ? linear(normed, source_->global(Role::project_out)) : normed;
}

torch::Tensor Model::head_logits(const torch::Tensor& input, std::int64_t first, std::int64_t count) const {
  return head_logits(input, source_->head_rows(first, count));
}

RoleTensors Model::head() const { return source_->head_rows(0, config_.vocab); }

std::uint64_t Model::head_bytes() const {
  if (!config_.normalised_head && !source_->converts(-1, Role::head)) return 0;
  const TensorInfo& weight = *source_->info(-1, Role::head, Part::weight);
  return static_cast<std::uint64_t>(weight.elements()) * torch::elementSize(placement_.dtype);
}

torch::Tensor Model::head_logits(const torch::Tensor& input, const RoleTensors& head) const {
  auto logits = linear(input, head);
  if (config_.scale.logits != 1) logits = logits * config_.scale.logits;
  const double cap = config_.scale.logit_softcap;
  return cap == 0 ? logits : (logits / cap).tanh() * cap;
}

torch::Tensor Model::logits(const torch::Tensor& hidden) const {
  return head_logits(head_input(hidden), 0, config_.vocab);
}

// Calls stored(info, elements) for each tensor of the file that this stack has, with how much of it a slice leaves, and
// trained(tensor) for each of its replacements.
template <class Stored, class Trained>
void Model::for_each_tensor(Stored&& stored, Trained&& trained) const {
  const auto visit = [&](std::int64_t layer, Role role, std::int64_t expert, const LayerSlice& slice) {
    for (const Part part : {Part::weight, Part::bias}) {
      const TensorInfo* info = find_tensor(*checkpoint_, source_->config, layer, role, part, expert);
      if (!info) continue;
      std::int64_t elements = info->elements();
      if (!slice.empty())
        if (const auto cut =
                tensor_cut(source_->config.layers[static_cast<std::size_t>(layer)], slice, role, part, expert)) {
          const bool turned = info->shape.size() == 2 && is_transposed(source_->config, layer, role, part);
          const auto before = info->shape[static_cast<std::size_t>(turned ? 1 - cut->dimension : cut->dimension)];
          elements = elements / before * static_cast<std::int64_t>(cut->indices.size());
        }
      stored(*info, elements);
    }
  };
  for (std::size_t i = 0; i < stack_.size(); ++i) {
    const StackEntry& entry = stack_[i];
    if (entry.weights)
      for (const auto& tensor : entry.weights->all()) trained(tensor);
    const LayerConfig& layer = config_.layers[i];
    const auto visit_half = [&](std::int64_t source, const auto& has) {
      if (source < 0) return;
      for_each_role(source_->config.layers[static_cast<std::size_t>(source)], [&](Role role, std::int64_t expert) {
        if (has(role)) visit(source, role, expert, entry.slice);
      });
    };
    visit_half(entry.attention, is_attention_role);
    // A norm that the halves share comes with the attention where there is one.
    visit_half(entry.mlp,
               [&](Role role) { return layer.attention ? !is_attention_role(role) : serves_mlp(layer, role); });
  }
  for (const Role role : kGlobalRoles)
    if (role != Role::head || !config_.tied_embeddings) visit(-1, role, -1, {});
}

std::int64_t Model::parameters() const {
  std::int64_t total = 0;
  for_each_tensor([&](const TensorInfo&, std::int64_t elements) { total += elements; },
                  [&](const torch::Tensor& tensor) { total += tensor.numel(); });
  return total + (route_ ? route_->parameters : 0);
}

std::uint64_t Model::weight_bytes() const {
  std::uint64_t total = 0;
  const TensorInfo* table = find_tensor(*checkpoint_, config_, -1, Role::token_embedding, Part::weight);
  const std::uint64_t element = table && table->is_plain() ? dtype_size(table->dtype) : sizeof(float);
  const auto share = [](const TensorInfo& info, std::int64_t elements) {
    const auto part = static_cast<double>(elements) / static_cast<double>(info.elements());
    return elements == info.elements() ? info.size : static_cast<std::uint64_t>(static_cast<double>(info.size) * part);
  };
  for_each_tensor([&](const TensorInfo& info, std::int64_t elements) { total += share(info, elements); },
                  [&](const torch::Tensor& tensor) { total += static_cast<std::uint64_t>(tensor.numel()) * element; });
  return total;
}

Model::StackEntry Model::entry_for(const OutputLayer& layer) const {
  const StackEntry& first = stack_[static_cast<std::size_t>(layer.source)];
  const StackEntry& second = stack_[static_cast<std::size_t>(layer.mlp_source)];
  if (layer.untouched()) return first;
  auto gates = joined_gates(layer.attention ? first.gates : nullptr, layer.mlp ? second.gates : nullptr);
  SL_ASSERT(!gates || layer.slice.empty());
  if (!first.weights && !second.weights) {
    LayerSlice slice = composed({.kv_heads = first.slice.kv_heads, .channels = second.slice.channels}, layer.slice);
    if (!layer.attention) slice.kv_heads.reset();
    if (!layer.mlp) slice.channels.clear();
    return {.attention = layer.attention ? first.attention : -1,
            .mlp = layer.mlp ? second.mlp : -1,
            .slice = std::move(slice),
            .gates = std::move(gates)};
  }
  const auto half = [&](const StackEntry& entry, std::int64_t index, const LayerSlice& slice) {
    return sliced(ungated_layer(entry, config_.layers[static_cast<std::size_t>(index)], Use::often), slice);
  };
  const LayerWeights attention = half(first, layer.source, {.kv_heads = layer.slice.kv_heads}),
                     mlp = half(second, layer.mlp_source, {.channels = layer.slice.channels});
  return {.weights = std::make_shared<LayerWeights>(
              joined(layer_config(config_, layer), layer.attention ? &attention : nullptr, layer.mlp ? &mlp : nullptr)),
          .gates = std::move(gates)};
}

Model Model::view(const Plan& plan, const Replacements& replacements) const {
  validate(plan);
  if (route_)
    fail(ErrorKind::unsupported, checkpoint_->label(),
         ": was healed with SHERL, whose side route reads its layers where they are; cut first, then heal");
  check_plan_layers(plan, layer_count(), checkpoint_->label());
  Model result = *this;
  result.stack_.clear();
  result.config_.layers.clear();
  for (const OutputLayer& layer : output_layers(config_, plan)) {
    if (!layer.replaced) {
      result.config_.layers.push_back(layer_config(config_, layer));
      result.stack_.push_back(entry_for(layer));
      continue;
    }
    const auto found = replacements.find(layer.segment);
    if (found == replacements.end())
      fail(ErrorKind::mismatch, "the plan replaces layers from ", layer.source,
           " on, but no weights were given for its segment ", layer.segment);
    auto weights = std::make_shared<LayerWeights>(transformed(
        found->second, [&](const torch::Tensor& tensor) { return tensor.to(placement_.device, placement_.dtype); }));
    result.config_.layers.push_back(weights->config);
    result.stack_.push_back({.weights = std::move(weights)});
  }
  return result;
}

Model Model::gated(const std::map<std::int64_t, Gates>& gates) const {
  Model result = *this;
  for (const auto& [layer, values] : gates)
    result.stack_.at(static_cast<std::size_t>(layer)).gates = std::make_shared<const Gates>(values);
  return result;
}

Model Model::masked(const Plan& plan) const {
  check_slices(config_, plan);
  std::map<std::int64_t, Gates> gates;
  for (const auto& [layer, slice] : plan.slices)
    gates[layer] =
        slice_mask(config_.layers[static_cast<std::size_t>(layer)], slice, placement_.device, placement_.dtype);
  return gated(gates);
}

Model Model::alone() const {
  Model result = *this;
  result.placement_.ranks = {};
  return result;
}

Model Model::truncated(std::int64_t count) const {
  SL_ASSERT(count >= 0 && count <= layer_count());
  Model result = *this;
  if (route_ && route_->at >= count) result.route_.reset();
  result.stack_.resize(static_cast<std::size_t>(count));
  result.config_.layers.resize(static_cast<std::size_t>(count));
  return result;
}

Model Model::changed(std::shared_ptr<const WeightChange> change) const {
  SL_ASSERT(!source_->change);
  Model result = *this;
  result.source_ = std::make_shared<Source>(checkpoint_, source_->config, placement_, std::move(change));
  return result;
}

Model Model::routed(std::shared_ptr<const SideRoute> route) const {
  SL_ASSERT(!route || (route->at > 0 && route->at < layer_count()));
  Model result = *this;
  result.route_ = std::move(route);
  return result;
}

torch::Tensor Model::stored_matrix(std::int64_t layer, Role role, std::int64_t expert) const {
  return source_->stored(layer, role, Part::weight, expert);
}

bool Model::changes(std::int64_t layer, Role role, std::int64_t expert) const {
  return source_->changes(layer, role, expert);
}

bool Model::has_changes() const { return source_->change != nullptr; }

std::vector<torch::Tensor> hidden_states(const Model& model, const torch::Tensor& ids) {
  return translating_errors([&] {
    const Positions positions = rope_positions(model.config(), 0, ids.size(1), model.placement().device);
    std::vector<torch::Tensor> states = {model.embed(ids)};
    RouteWalk route(model.route());
    for (std::int64_t i = 0; i < model.layer_count(); ++i)
      states.push_back(block_forward(model.config(), model.layer(i), route.enter(i, states.back()), positions));
    return states;
  });
}

torch::Tensor forward_logits(const Model& model, const torch::Tensor& ids) {
  return translating_errors([&] {
    const Positions positions = rope_positions(model.config(), 0, ids.size(1), model.placement().device);
    torch::Tensor x = model.embed(ids);
    RouteWalk route(model.route());
    for (std::int64_t i = 0; i < model.layer_count(); ++i) {
      check_interrupted();
      x = block_forward(model.config(), model.layer(i), route.enter(i, x), positions);
    }
    return model.logits(x);
  });
}

}  // namespace streamline
