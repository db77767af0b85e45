// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/tuning.h"

#include <algorithm>
#include <cmath>

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/engine/tail.h"
#include "streamline/heal/next_token_run.h"
#include "streamline/heal/run_key.h"
#include "streamline/nn/nf4.h"

namespace streamline {
namespace {

constexpr double kManyZeros = 0.2;  // of all weights: more than rounding to four bits leaves (Q4_0 about an eighth)

// A layer whose matrices are packed; all else is kept as it is.
struct PackedLayer {
  LayerWeights rest;
  std::vector<std::pair<PlacedTensor, Nf4Matrix>> matrices;  // the value of each is undefined
};

bool is_packed(Role role, Part part, std::int64_t dimensions) {
  return part == Part::weight && dimensions == 2 && role != Role::router;
}

// Of what pack() makes of a layer, from its shapes alone.
std::uint64_t packed_bytes(const Config& config, const LayerConfig& layer, torch::ScalarType dtype) {
  std::uint64_t bytes = 0;
  for (const ExpectedTensor& tensor : layer_tensors(config, layer, 0)) {
    const auto elements = static_cast<std::uint64_t>(tensor.elements());
    bytes += is_packed(tensor.role, tensor.part, std::ssize(tensor.shape)) ? elements * 9 / 16
                                                                           : elements * torch::elementSize(dtype);
  }
  return bytes;
}

PackedLayer pack(const LayerWeights& weights) {
  PackedLayer packed{.rest = {.config = weights.config, .tensors = {}}, .matrices = {}};
  for (PlacedTensor& tensor : placed_tensors(weights)) {
    if (is_packed(tensor.role, tensor.part, tensor.value.dim())) {
      Nf4Matrix matrix = quantise_nf4(tensor.value);
      tensor.value = torch::Tensor();
      packed.matrices.emplace_back(tensor, std::move(matrix));
    } else {
      place(packed.rest, tensor.role, tensor.part, tensor.expert) = tensor.value.clone();
    }
  }
  return packed;
}

LayerWeights unpack(const PackedLayer& packed, torch::ScalarType dtype) {
  LayerWeights weights = packed.rest;
  for (const auto& [tensor, matrix] : packed.matrices)
    place(weights, tensor.role, tensor.part, tensor.expert) = dequantise(matrix, dtype);
  return weights;
}

class Tuning {
 public:
  Tuning(const Model& model, const TokenBatches& training, const TokenBatches& validation, const TuningOptions& options)
      : model_(model),
        training_(training),
        validation_(validation),
        options_(options),
        pace_(pace_of(training, validation, kTuningRate, options.heal)),
        rng_(options.heal.seed),
        adapters_(initial_adapters(model, options.adapters, rng_)) {
    if (adapters_.zeros > kManyZeros)
      log_warning(std::to_string(std::llround(100 * adapters_.zeros)) +
                  " % of the weights that adapters are added to are zero (sparsified, padding, or rounded to very few "
                  "bits); none of them stays so");
    run_ = tuning_key(model, training, validation, options);
    set_micro_batch(pace_,
                    {.model = model,
                     .window = {},
                     .shape = {},
                     .networks = 0,
                     .longest = longest_sequence(training),
                     .on_logits = true,
                     .beside = beside()},
                    training, options.heal, run_);
    if (options.base == FrozenBase::nf4) {
      for (std::int64_t layer = 0; layer < model.layer_count(); ++layer)
        packed_.push_back(pack(model.layer(layer, Model::Use::once)));
      model.forget_layers();
    }
    for (Adapter& adapter : adapters_.list)
      for (torch::Tensor* tensor : adapter.tensors())
        *tensor = tensor->to(model.placement().device).requires_grad_(true);
  }

  Tuned run() {
    Tuned tuned;
    tuned.result.trained_parameters = adapters_.parameters();
    const Trainee trainee = trainee_of(
        model_.placement().ranks, parameters(),
        [&](std::int64_t step, const Indices& sequences) { return add_gradient(step, sequences); },
        [&](bool of_nothing) { return validation_error(of_nothing); });
    train(
        trainee, training_, pace_, rng_, next_token_options(options_.heal, options_.warmup_steps, pace_.steps), run_,
        [] {}, tuned.result);
    for (Adapter& adapter : adapters_.list)
      for (torch::Tensor* tensor : adapter.tensors()) *tensor = tensor->detach().cpu();
    tuned.adapters = std::move(adapters_);
    return tuned;
  }

 private:
  std::vector<torch::Tensor> parameters() const {
    std::vector<torch::Tensor> all;
    for (const Adapter& adapter : adapters_.list)
      for (const torch::Tensor* tensor : adapter.tensors()) all.push_back(*tensor);
    return all;
  }

  // Bytes of the adapters in training, and of packed layers; the limit is of the CPU's memory.
  std::uint64_t beside() const {
    auto bytes = static_cast<std::uint64_t>(kTrainedBytes * adapters_.parameters());
    if (options_.base == FrozenBase::nf4 && model_.placement().device.is_cpu())
      for (const LayerConfig& layer : model_.config().layers)
        bytes += packed_bytes(model_.config(), layer, model_.placement().dtype);
    return bytes;
  }

  LayerWeights base(std::int64_t layer) const {
    return packed_.empty() ? model_.layer(layer)
                           : unpack(packed_[static_cast<std::size_t>(layer)], model_.placement().dtype);
  }

  // The model with its adapters; seed 0: nothing is dropped.
  Tail adapted(std::uint64_t seed) const {
    return {model_, 0, [this, seed](std::int64_t layer) {
              LayerWeights weights = base(layer);
              attach(adapters_, layer, seed, weights);
              return weights;
            }};
  }

  double add_gradient(std::int64_t step, const Indices& sequences) {
    const double mean = mean_over(training_, sequences, [&](const torch::Tensor& ids, std::int64_t number) {
      const std::uint64_t place = (static_cast<std::uint64_t>(step) << 20) ^ static_cast<std::uint64_t>(number);
      return next_token(adapted(Rng(options_.heal.seed ^ place).next()), ids, /*gradient=*/true);
    });
    finish_gradients(model_.placement().ranks, parameters(), predicted_tokens(training_, sequences));
    return mean;
  }

  double validation_error(bool of_nothing) const {
    const torch::NoGradGuard no_grad;
    const Tail tail = of_nothing ? Tail(model_, 0, [this](std::int64_t layer) { return base(layer); }) : adapted(0);
    return mean_over(validation_, all_sequences(validation_),
                     [&](const torch::Tensor& ids, std::int64_t) { return next_token(tail, ids, /*gradient=*/false); });
  }

  double mean_over(const TokenBatches& batches, const Indices& sequences, const MicroBatchLoss& loss) const {
    return mean_loss(batches, sequences, pace_.micro_batch_tokens, model_.placement(), loss);
  }

  double next_token(const Tail& tail, const torch::Tensor& ids, bool gradient) const {
    const auto x = [&] {
      const torch::NoGradGuard no_grad;
      return model_.embed(ids);
    }();
    return tail.next_token(x, ids, gradient).sum;
  }

  const Model& model_;
  const TokenBatches& training_;
  const TokenBatches& validation_;
  const TuningOptions& options_;
  Pace pace_;
  Rng rng_;
  Adapters adapters_;
  std::vector<PackedLayer> packed_ = {};
  Json run_ = {};
};

}  // namespace

Json tuning_key(const Model& model, const TokenBatches& training, const TokenBatches& validation,
                const TuningOptions& options) {
  const AdapterOptions& adapters = options.adapters;
  Json roles = Json::array();
  for (const Role role : adapters.roles) roles.push_back(role_name(role));
  Json key = tuned_run(kAdapters, model, training, validation, options.heal, options.warmup_steps);
  key.update({{"what learns", static_cast<int>(adapters.kind)},
              {"adapters", {adapters.rank, adapters.scale(), adapters.dropout, roles}},
              {"base", options.base == FrozenBase::nf4 ? "nf4" : "stored"}});
  return key;
}

Tuned tune(const Model& model, const TokenBatches& training, const TokenBatches& validation,
           const TuningOptions& options) {
  check_trainable(model, training, validation);
  return translating_errors([&] { return Tuning(model, training, validation, options).run(); });
}

}  // namespace streamline
