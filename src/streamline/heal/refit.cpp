// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/refit.h"

#include <limits>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/engine/sweep.h"
#include "streamline/heal/added_biases.h"
#include "streamline/heal/closed_form.h"
#include "streamline/nn/halves.h"
#include "streamline/nn/slice.h"
#include "streamline/plan/stack.h"

namespace streamline {
namespace {

constexpr std::array kRefitRidges = {1e-4, 1e-3, 1e-2, 1e-1, 1.0};
constexpr std::size_t kJudgeEvery = 8;

// The stream of some sequences of one length on its way.
struct Passing {
  torch::Tensor x;  // [sequences, tokens, hidden]
  Positions positions;
  bool judges = false;
};

std::vector<Passing> embedded(const Model& model, const TokenBatches& text) {
  std::vector<Passing> stream;
  TokenBatches teaching, judging;
  for (std::size_t i = 0; i < text.sequences.size(); ++i)
    (i % kJudgeEvery == kJudgeEvery - 1 || i + 1 == text.sequences.size() ? judging : teaching)
        .sequences.push_back(text.sequences[i]);
  for (const TokenBatches* part : {&teaching, &judging})
    for (const auto& sequences : batches_of_one_length(*part, default_batch_tokens(model))) {
      const auto ids = to_tensor(*part, sequences, model.placement().device);
      stream.push_back({model.embed(ids), rope_positions(model.config(), 0, ids.size(1), model.placement().device),
                        part == &judging});
    }
  return stream;
}

// What the matrix `role` of this layer reads of the stream, [tokens, in] fp64.
torch::Tensor read_of(const Config& config, const LayerWeights& whole, const Passing& passing, Role role) {
  LayerWeights layer = role == Role::o ? kept_halves(whole, /*attention=*/true, /*mlp=*/false) : whole;
  torch::Tensor seen;
  layer.tap = [&](Role of, std::int64_t, const torch::Tensor& inner) {
    if (of == role) seen = inner;
  };
  block_forward(config, layer, passing.x, passing.positions);
  return seen.reshape({-1, seen.size(-1)}).to(torch::kDouble);
}

// What of a matrix's missing part can be made up for: by the columns that stay, or by a constant.
class MatrixFit {
 public:
  // weight: [out, in]; kept: columns that stay.
  MatrixFit(const torch::Tensor& weight, const std::vector<std::int64_t>& kept, RefitKind kind) : kind_(kind) {
    std::vector<std::int64_t> gone;
    for (std::int64_t i = 0, next = 0; i < weight.size(1); ++i) {
      if (next < std::ssize(kept) && kept[static_cast<std::size_t>(next)] == i)
        ++next;
      else
        gone.push_back(i);
    }
    kept_ = torch::tensor(kept, torch::kLong).to(weight.device());
    gone_ = torch::tensor(gone, torch::kLong).to(weight.device());
    gone_weight_ = weight.index_select(1, gone_).to(torch::kDouble);
  }

  void add(const torch::Tensor& read, bool judges) {
    const auto missing = read.index_select(1, gone_).matmul(gone_weight_.t());
    const auto features =
        kind_ == RefitKind::bias ? torch::ones({read.size(0), 1}, read.options()) : read.index_select(1, kept_);
    (judges ? judging_ : teaching_).add(features, missing, /*diagonal=*/false);
  }

  // What is added to the kept columns, [kept, out], or the constant, [1, out], on the CPU; undefined where nothing is
  // better.
  torch::Tensor solve(FittedMatrix& found, const std::string& where) const {
    const std::int64_t unknowns = teaching_.gram.defined() ? teaching_.gram.size(0) : 1;
    if (teaching_.rows < unknowns)
      fail(ErrorKind::resource, "--refit: ", where, " has ", unknowns, " columns to fit and the text has ",
           teaching_.rows, " tokens for it; give at least ", unknowns, ", better several times as many");
    const double outputs = static_cast<double>(judging_.rows * gone_weight_.size(0));
    found.before = judging_.energy / outputs;
    if (kind_ == RefitKind::bias) {
      const auto mean = solve_ridge(teaching_, 0).value();
      found.after = std::max(0.0, judging_.error(mean) / outputs);
      return mean.cpu();
    }
    found.after = found.before;
    found.ridge = std::numeric_limits<double>::infinity();
    torch::Tensor best;
    for (const double ridge : kRefitRidges) {
      const auto solution = solve_ridge(teaching_, ridge);
      if (!solution) continue;
      const double error = judging_.error(*solution) / outputs;
      if (!(error < found.after)) continue;
      found.after = error;
      found.ridge = ridge;
      best = *solution;
    }
    return best.defined() ? best.cpu() : best;
  }

 private:
  RefitKind kind_;
  torch::Tensor kept_, gone_, gone_weight_;
  LeastSquares teaching_, judging_;
};

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
      : source_(source), kind_(kind), stream_(embedded(source, text)) {}

  void pass(const OutputLayer& layer) {
    LayerSlice attention{.kv_heads = layer.slice.kv_heads}, mlp{.channels = layer.slice.channels};
    const bool sparse = config_of(layer.mlp_source).mlp && config_of(layer.mlp_source).mlp->experts;
    LayerWeights left = weights(layer, {});
    if (layer.attention && layer.slice.kv_heads) fit(left, layer.source, Role::o, attention);
    left = sliced_with(left, attention, layer.source, Role::o);
    if (layer.mlp && !layer.slice.channels.empty() && !sparse) fit(left, layer.mlp_source, Role::down, mlp);
    left = sliced_with(left, mlp, layer.mlp_source, Role::down);
    for (Passing& passing : stream_) passing.x = block_forward(source_.config(), left, passing.x, passing.positions);
  }

  Refit result() && {
    return {.model = kind_ == RefitKind::bias ? with_added_biases(source_, biases_)
                                              : source_.changed(as_change(std::move(changed_))),
            .matrices = std::move(matrices_)};
  }

 private:
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
    for (const Passing& passing : stream_) {
      check_interrupted();
      matrix.add(read_of(source_.config(), layer, passing, role), passing.judges);
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
  std::vector<Passing> stream_;
  ChangedColumns changed_;
  AddedBiases biases_;
  std::map<std::pair<std::int64_t, Role>, FittedMatrix> matrices_;
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

Refit refit_slices(const Model& source, const Plan& plan, const TokenBatches& text, RefitKind kind) {
  if (plan.slices.empty()) fail(ErrorKind::usage, "--refit fits what slices leave; this plan slices nothing");
  if (text.sequences.size() < 2) fail(ErrorKind::resource, "--refit needs two sequences or more; give more text");
  for (const Segment& segment : plan.segments)
    if (segment.action == Action::replace)
      fail(ErrorKind::usage, "--refit fits what slices leave; layers ", segment.first, "..", segment.last,
           " are replaced, which training does: see `streamline heal`");
  const std::vector<OutputLayer> layers = output_layers(source.config(), plan);
  for (const OutputLayer& layer : layers) {
    if (kind != RefitKind::bias) break;
    if (layer.attention && layer.slice.kv_heads) check_half(source.config(), layer.source, Role::o);
    if (layer.mlp && !layer.slice.channels.empty()) check_half(source.config(), layer.mlp_source, Role::down);
  }
  const torch::NoGradGuard no_grad;
  return translating_errors([&] {
    Refitting refitting(source, text, kind);
    for (const OutputLayer& layer : layers) refitting.pass(layer);
    return std::move(refitting).result();
  });
}

}  // namespace streamline
