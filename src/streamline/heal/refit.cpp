// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/refit.h"

#include <optional>
#include <utility>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/engine/sweep.h"
#include "streamline/heal/added_biases.h"
#include "streamline/heal/judged_stream.h"
#include "streamline/heal/matrix_fit.h"
#include "streamline/nn/halves.h"
#include "streamline/nn/slice.h"
#include "streamline/plan/stack.h"

namespace streamline {
namespace {

// What the matrix `role` of this layer reads of the stream, [tokens, in] fp64.
torch::Tensor read_of(const Config& config, const LayerWeights& whole, const JudgedStream& stream, Role role) {
  LayerWeights layer = role == Role::o ? kept_halves(whole, /*attention=*/true, /*mlp=*/false) : whole;
  torch::Tensor seen;
  layer.tap = [&](Role of, std::int64_t, const torch::Tensor& inner) {
    if (of == role) seen = inner;
  };
  block_forward(config, layer, stream.x, stream.positions);
  return seen.reshape({-1, seen.size(-1)}).to(torch::kDouble);
}

// Matrices of the source of which some columns changed.
struct ChangedColumns {
  struct Columns {
    torch::Tensor index, values;  // [kept] int64; [out, kept]
  };
  std::map<std::pair<std::int64_t, Role>, Columns> matrices = {};
};

std::shared_ptr<const WeightChange> as_change(ChangedColumns changed) {
  const auto shared = std::make_shared<const ChangedColumns>(std::move(changed));
  return std::make_shared<const WeightChange>(
      WeightChange{.touches =
                       [shared](std::int64_t layer, Role role, std::int64_t expert) {
                         return expert < 0 && shared->matrices.count({layer, role}) != 0;
                       },
                   .apply =
                       [shared](std::int64_t layer, Role role, std::int64_t, const torch::Tensor& stored) {
                         const auto& columns = shared->matrices.at({layer, role});
                         return stored.index_copy(1, columns.index.to(stored.device()),
                                                  columns.values.to(stored.device(), stored.scalar_type()));
                       }});
}

class Refitting {
 public:
  Refitting(const Model& source, const TokenBatches& text, RefitKind kind)
      : source_(source), kind_(kind), streams_(judged_streams(source, text)) {}

  // What is left of a layer of the source, which may be nothing.
  void pass(OutputLayer layer) {
    const LayerConfig& whole = config_of(layer.source);
    layer.attention = layer.attention && whole.attention;
    layer.mlp = layer.mlp && whole.mlp;
    const bool attention_went = whole.attention && !layer.attention, mlp_went = whole.mlp && !layer.mlp;
    if (!layer.attention && !layer.mlp) return miss(layer.source, attention_went, mlp_went);
    const bool beside = whole.residual == Residual::parallel && (attention_went || mlp_went);
    if (attention_went && !beside) miss(layer.source, true, false);
    keep(layer, beside);
    if (mlp_went && !beside) miss(layer.source, false, true);
  }

  Refit result() && {
    emulate();
    return {.model = kind_ == RefitKind::bias ? with_added_biases(source_, biases_)
                                              : source_.changed(as_change(std::move(changed_))),
            .matrices = std::move(matrices_),
            .updates = std::move(updates_)};
  }

 private:
  void miss(std::int64_t layer, bool attention, bool mlp) {
    if (kind_ != RefitKind::bias || (!attention && !mlp)) return;
    pass_by(source_.config(), kept_halves(source_.layer(layer), attention, mlp), streams_);
    note_missing(layer);
  }

  void note_missing(std::int64_t layer) {
    if (!missing_) missing_ = EmulatedUpdate{.first = layer};
    missing_->last = layer;
  }

  // beside: its other half went, which read what this one reads.
  void keep(const OutputLayer& layer, bool beside) {
    emulate();
    const LayerSlice attention{.kv_heads = layer.slice.kv_heads}, mlp{.channels = layer.slice.channels};
    LayerWeights left = weights(layer, {});
    if (layer.attention && layer.slice.kv_heads) fit(left, layer.source, Role::o, attention);
    left = sliced_with(left, attention, layer.source, Role::o);
    if (layer.mlp && !layer.slice.channels.empty() && !config_of(layer.source).mlp->experts)
      fit(left, layer.source, Role::down, mlp);
    left = sliced_with(left, mlp, layer.source, Role::down);
    std::optional<LayerWeights> gone;
    if (beside && kind_ == RefitKind::bias)
      gone = kept_halves(source_.layer(layer.source), !layer.attention, !layer.mlp);
    for (JudgedStream& stream : streams_) {
      const torch::Tensor read = stream.x;
      stream.x = block_forward(source_.config(), left, read, stream.positions);
      if (gone)
        stream.intact = stream.x + (layer.attention ? mlp_half(source_.config(), *gone, read)
                                                    : attention_half(source_.config(), *gone, read, stream.positions));
    }
    last_ = {layer.source, layer.mlp ? Role::down : Role::o};
    // Parallel halves add to one stream, so that either can give a constant.
    if (layer.whole() && config_of(layer.source).residual == Residual::parallel &&
        !why_no_constant(source_.config(), layer.source, Role::down).empty())
      last_->second = Role::o;
    if (gone) note_missing(layer.source);
  }

  // Puts the mean of what went since the last half that stays into that half's bias.
  void emulate() {
    if (!missing_) return;
    EmulatedUpdate update = *std::exchange(missing_, std::nullopt);
    const torch::Tensor mean = mean_update(streams_, update);
    update.why = last_ ? why_no_constant(source_.config(), last_->first, last_->second) : "nothing before it stays";
    if (update.why.empty()) {
      update.place = last_;
    } else {
      update.after = update.before;  // nothing stands for it
    }
    for (JudgedStream& stream : streams_) {
      stream.intact.reset();
      if (update.place) stream.x = stream.x + mean.to(stream.x.scalar_type());
    }
    if (update.place) {
      const torch::Tensor bias = mean.cpu() / source_.config().scale.residual;
      const auto [found, fresh] = biases_.try_emplace(*update.place, bias);
      if (!fresh) found->second = found->second + bias;
    }
    updates_.push_back(std::move(update));
  }

  const LayerConfig& config_of(std::int64_t layer) const {
    return source_.config().layers[static_cast<std::size_t>(layer)];
  }

  // The halves of an output layer, whole inside.
  LayerWeights weights(OutputLayer layer, const LayerSlice& slice) const {
    layer.slice = slice;
    const LayerWeights first = source_.layer(layer.source), second = source_.layer(layer.mlp_source);
    return joined(layer_config(source_.config(), layer), layer.attention ? &first : nullptr,
                  layer.mlp ? &second : nullptr);
  }

  void fit(const LayerWeights& layer, std::int64_t source, Role role, const LayerSlice& slice) {
    const auto cut = tensor_cut(layer.config, slice, role, Part::weight);
    const torch::Tensor& weight = layer.at(role).weight;
    MatrixFit matrix(weight, cut->indices, kind_);
    for (const JudgedStream& stream : streams_) {
      check_interrupted();
      matrix.add(read_of(source_.config(), layer, stream, role), stream.judges);
    }
    const auto found =
        matrix.solve(matrices_[{source, role}], std::string(role_name(role)) + " of layer " + std::to_string(source));
    if (kind_ == RefitKind::bias) {
      biases_[{source, role}] = found.squeeze(0);
      return;
    }
    const auto index = torch::tensor(cut->indices, torch::kLong);
    auto values = weight.to(torch::kCPU, torch::kDouble).index_select(1, index);
    if (found.defined()) values = values + found.t();
    changed_.matrices[{source, role}] = {index, values.to(weight.scalar_type())};
  }

  LayerWeights sliced_with(const LayerWeights& layer, const LayerSlice& slice, std::int64_t source, Role role) const {
    LayerWeights left = sliced(layer, slice);
    const auto changed = changed_.matrices.find({source, role});
    if (changed != changed_.matrices.end())
      left.tensors.at(role).weight = changed->second.values.to(left.at(role).weight.device());
    if (const auto bias = biases_.find({source, role}); bias != biases_.end()) {
      RoleTensors& last = left.tensors.at(role);
      const auto added = bias->second.to(last.weight.device(), last.weight.scalar_type());
      last.bias = last.bias.defined() ? last.bias + added : added;
    }
    return left;
  }

  const Model& source_;
  RefitKind kind_;
  std::vector<JudgedStream> streams_;
  ChangedColumns changed_;
  AddedBiases biases_;
  std::map<std::pair<std::int64_t, Role>, FittedMatrix> matrices_;
  std::optional<EmulatedUpdate> missing_;              // what went since last_
  std::optional<std::pair<std::int64_t, Role>> last_;  // the last half that stays
  std::vector<EmulatedUpdate> updates_;
};

void check_half(const Config& config, std::int64_t layer, Role role) {
  const std::string why = why_no_bias(config, layer, role);
  if (!why.empty())
    fail(ErrorKind::unsupported, "--refit bias: ", why, "; slice only ", role == Role::o ? "channels" : "heads",
         " (--inside), or take --refit least-squares");
}

}  // namespace

RefitKind parse_refit(std::string_view name) {
  if (name == "least-squares") return RefitKind::least_squares;
  if (name == "bias") return RefitKind::bias;
  fail(ErrorKind::usage, "'", name, "' fits nothing; there are least-squares and bias");
}

void check_refit(const Config& config, RefitKind kind, bool heads, bool channels) {
  if (kind != RefitKind::bias) return;
  for (std::int64_t i = 0; i < config.layer_count(); ++i) {
    const LayerConfig& layer = config.layers[static_cast<std::size_t>(i)];
    if (layer.attention && layer.attention->qk_norm != QkNorm::whole && heads) check_half(config, i, Role::o);
    if (layer.mlp && channels) check_half(config, i, Role::down);
  }
}

void check_emulated_updates(const Config& config, DroppedUnits units) {
  std::string first;
  for (std::int64_t i = 0; i < config.layer_count(); ++i) {
    const LayerConfig& layer = config.layers[static_cast<std::size_t>(i)];
    for (const Role role : {Role::down, Role::o}) {
      if (role == Role::o ? !layer.attention : !layer.mlp) continue;
      // What goes in whole layers goes behind the last half of one that stays.
      if (role == Role::o && units == DroppedUnits::layers && layer.mlp && layer.residual == Residual::sequential)
        continue;
      const std::string why = why_no_constant(config, i, role);
      if (why.empty()) return;
      if (first.empty()) first = why;
    }
  }
  fail(ErrorKind::unsupported, "--refit bias: no half can stand for what went: ", first,
       "; for a run of layers there is --replace mean");
}

Refit refit_slices(const Model& source, const Plan& plan, const TokenBatches& text, RefitKind kind) {
  if (plan.slices.empty() && !(kind == RefitKind::bias && cuts_layers(plan)))
    fail(ErrorKind::usage, "--refit fits what slices leave; this plan slices nothing");
  if (text.sequences.size() < 2) fail(ErrorKind::resource, "--refit needs two sequences or more; give more text");
  for (const Segment& segment : plan.segments)
    if (segment.action == Action::replace)
      fail(ErrorKind::usage, "--refit makes up for what goes; layers ", segment.first, "..", segment.last,
           " are replaced, which training does: see `streamline heal`");
  output_layers(source.config(), plan);  // checks the plan
  const std::vector<OutputLayer> kept = lower(plan);
  for (const OutputLayer& layer : kept) {
    if (kind != RefitKind::bias) break;
    if (layer.attention && layer.slice.kv_heads) check_half(source.config(), layer.source, Role::o);
    if (layer.mlp && !layer.slice.channels.empty()) check_half(source.config(), layer.source, Role::down);
  }
  const torch::NoGradGuard no_grad;
  return translating_errors([&] {
    Refitting refitting(source, text, kind);
    auto next = kept.begin();
    for (std::int64_t i = 0; i < source.layer_count(); ++i) {
      const bool stays = next != kept.end() && next->source == i;
      refitting.pass(stays ? *next++ : OutputLayer{.source = i, .attention = false, .mlp = false, .mlp_source = i});
    }
    return std::move(refitting).result();
  });
}

}  // namespace streamline
