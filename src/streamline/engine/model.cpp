// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/model.h"

#include <set>

#include "streamline/arch/fp8_view.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/residency.h"
#include "streamline/engine/mapped.h"
#include "streamline/engine/weight_source.h"
#include "streamline/nn/halves.h"
#include "streamline/nn/linear.h"
#include "streamline/nn/norms.h"
#include "streamline/plan/plan_base.h"
#include "streamline/plan/slice.h"
#include "streamline/plan/stack.h"

namespace streamline {
namespace {

std::shared_ptr<const Gates> joined_gates(const std::shared_ptr<const Gates>& attention,
                                          const std::shared_ptr<const Gates>& mlp) {
  if (!attention && !mlp) return nullptr;
  return std::make_shared<const Gates>(Gates{.heads = attention ? attention->heads : torch::Tensor(),
                                             .channels = mlp ? mlp->channels : torch::Tensor()});
}

}  // namespace

Model Model::open(std::shared_ptr<const Checkpoint> checkpoint, Placement placement) {
  Model model;
  model.config_ = resolve_config(*checkpoint);
  checkpoint = fp8_view(std::move(checkpoint));
  model.checkpoint_ = checkpoint;
  model.placement_ = placement;
  model.source_ = std::make_shared<WeightSource>(std::move(checkpoint), model.config_, placement);
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
  const bool keeps = use == Use::often;
  if (entry.attention == entry.mlp) return sliced(source_->layer(entry.mlp, keeps), entry.slice);
  std::optional<LayerWeights> attention, mlp;
  if (entry.attention >= 0)
    attention = sliced(source_->layer(entry.attention, keeps), {.kv_heads = entry.slice.kv_heads});
  if (entry.mlp >= 0) mlp = sliced(source_->layer(entry.mlp, keeps), {.channels = entry.slice.channels});
  return joined(config, attention ? &*attention : nullptr, mlp ? &*mlp : nullptr);
}

void Model::visit_mapped(std::int64_t i, void (*visit)(std::span<const std::byte> mapped)) const {
  const StackEntry& entry = stack_[static_cast<std::size_t>(i)];
  for (const std::int64_t layer : std::set<std::int64_t>{entry.attention, entry.mlp}) {
    if (layer < 0 || entry.weights) continue;
    for_each_role(source_->config().layers[static_cast<std::size_t>(layer)], [&](Role role, std::int64_t expert) {
      for (const Part part : {Part::weight, Part::bias})
        if (const TensorInfo* found = source_->info(layer, role, part, expert))
          visit(checkpoint_->mapped_bytes(*found));
    });
  }
}

void Model::forget_layers() const { source_->forget_layers(); }

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

std::uint64_t Model::head_bytes() const { return source_->head_bytes(); }

torch::Tensor Model::head_logits(const torch::Tensor& input, const RoleTensors& head) const {
  auto logits = linear(input, head);
  if (config_.scale.logits != 1) logits = logits * config_.scale.logits;
  const double cap = config_.scale.logit_softcap;
  return cap == 0 ? logits : (logits / cap).tanh() * cap;
}

torch::Tensor Model::logits(const torch::Tensor& hidden) const {
  return head_logits(head_input(hidden), 0, config_.vocab);
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
  check_masks(plan);
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
  SL_ASSERT(!source_->has_changes());
  Model result = *this;
  result.source_ = std::make_shared<WeightSource>(checkpoint_, source_->config(), placement_, std::move(change));
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

bool Model::has_changes() const { return source_->has_changes(); }

std::shared_ptr<const MasksFile> Model::masks() const { return source_->masks(); }

void Model::check_masks(const Plan& plan) const {
  if (plan.masks && (!masks() || masks()->sha256() != plan.masks->sha256))
    fail(ErrorKind::mismatch, checkpoint_->label(), ": the plan masks weights by ", plan.masks->file,
         ", which are not masked in this model");
}

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
