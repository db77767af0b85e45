// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/speed.h"

#include <algorithm>
#include <optional>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/random.h"
#include "streamline/base/resources.h"
#include "streamline/eval/memory_rate.h"

namespace streamline {
namespace {

torch::Tensor random_ids(std::int64_t batch, std::int64_t count, std::int64_t vocab, Rng& rng) {
  torch::Tensor ids = torch::empty({batch, count}, torch::kInt64);
  for (std::int64_t k = 0; k < ids.numel(); ++k) {
    ids.data_ptr<std::int64_t>()[k] = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(vocab)));
  }
  return ids;
}

void wait_for(const Placement& placement) {
  if (placement.device.is_cuda()) torch::cuda::synchronize(placement.device.index());
}

// Returns when the logits of the last position are there.
void run(Decoder& decoder, const torch::Tensor& ids, const Placement& placement) {
  decoder.read(ids);
  wait_for(placement);
}

struct Seconds {
  double prefill = 0, decode = 0;
};

// Tokens that lie in front of the decoded ones: the prompt, cut where both together exceed the model's positions.
std::int64_t decode_start(const Model& model, const SpeedOptions& options) {
  const std::int64_t positions = model.config().max_positions;
  return positions > 0 ? std::min(options.prompt, positions - options.decode) : options.prompt;
}

Seconds run_once(const PhasedModel& model, const SpeedOptions& options, Rng& rng) {
  const std::int64_t vocab = model.prefill().config().vocab;
  const Placement& placement = model.prefill().placement();
  std::optional<Decoder> decoder(model);
  const torch::Tensor prompt = random_ids(options.batch, options.prompt, vocab, rng);
  const Stopwatch prefill;
  run(*decoder, prompt, placement);
  Seconds seconds{.prefill = prefill.seconds()};
  const std::int64_t start = decode_start(model.prefill(), options);
  if (start < options.prompt) {
    decoder.emplace(model);
    run(*decoder, prompt.narrow(1, 0, start), placement);
  }
  const torch::Tensor next = random_ids(options.batch, 1, vocab, rng);
  const Stopwatch decode;
  for (std::int64_t step = 0; step < options.decode; ++step) run(*decoder, next, placement);
  seconds.decode = decode.seconds();
  return seconds;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Of so many rows each expert of a sparse MLP computes these, on average.
std::int64_t rows_of_an_expert(const ExpertsConfig& experts, std::int64_t rows) {
  return std::max<std::int64_t>(1, rows * experts.active / experts.count);
}

// Every [out, in] matrix of the layers times as many rows as the prompts have tokens, and nothing else.
double matrix_product_seconds(const Model& model, const SpeedOptions& options) {
  const auto type = torch::dtype(model.placement().dtype).device(model.placement().device);
  const std::int64_t rows = options.batch * options.prompt;
  std::map<std::int64_t, torch::Tensor> inputs;  // by width, made outside the measured time
  double seconds = 0;
  for (std::int64_t i = 0; i < model.layer_count(); ++i) {
    check_interrupted();
    const LayerWeights weights = model.layer(i);
    std::vector<PlacedTensor> matrices;
    for (const PlacedTensor& tensor : placed_tensors(weights)) {
      if (tensor.value.dim() == 2) matrices.push_back(tensor);
    }
    for (const PlacedTensor& matrix : matrices) {
      torch::Tensor& x = inputs[matrix.value.size(1)];
      if (!x.defined()) x = torch::ones({rows, matrix.value.size(1)}, type);
    }
    const Stopwatch watch;
    for (const PlacedTensor& matrix : matrices) {
      const std::int64_t reach = matrix.expert < 0 ? rows : rows_of_an_expert(*weights.config.mlp->experts, rows);
      torch::linear(inputs[matrix.value.size(1)].narrow(0, 0, reach), matrix.value);
    }
    wait_for(model.placement());
    seconds += watch.seconds();
  }
  return seconds;
}

void check_options(const Model& model, const SpeedOptions& options) {
  if (options.prompt < 1 || options.batch < 1 || options.repetitions < 1 || options.decode < 0) {
    fail(ErrorKind::usage, "speed is measured on at least one token, one sequence and one repetition");
  }
  const std::int64_t positions = model.config().max_positions;
  if (positions > 0 && (options.prompt > positions || options.decode >= positions)) {
    fail(ErrorKind::mismatch, options.prompt, " prompt or ", options.decode, " decoded tokens exceed the model's ",
         positions, " positions; measure fewer");
  }
}

}  // namespace

SpeedResult measure_speed(const PhasedModel& model, const SpeedOptions& options, bool with_limits) {
  const torch::NoGradGuard no_gradients;
  check_options(model.prefill(), options);
  Rng rng(0);
  std::vector<double> prefill, decode, products, reading;
  return translating_errors([&] {
    run_once(model, options, rng);
    if (with_limits) matrix_product_seconds(model.prefill(), options);
    for (std::int64_t repetition = 0; repetition < options.repetitions; ++repetition) {
      const Seconds seconds = run_once(model, options, rng);
      prefill.push_back(seconds.prefill);
      decode.push_back(seconds.decode);
      if (!with_limits) continue;
      products.push_back(matrix_product_seconds(model.prefill(), options));
      reading.push_back(weight_reading_seconds(model.decode(), options.batch));
    }
    const double tokens = static_cast<double>(options.batch * options.prompt);
    SpeedResult result;
    result.prefill_tokens_per_second = tokens / median(prefill);
    if (options.decode > 0) {
      result.decode_tokens_per_second = static_cast<double>(options.batch * options.decode) / median(decode);
    }
    if (with_limits && model.prefill().layer_count() > 0) result.gemm_tokens_per_second = tokens / median(products);
    if (with_limits && median(reading) > 0)
      result.memory_tokens_per_second = static_cast<double>(options.batch) / median(reading);
    result.peak_memory = peak_resident_memory();
    return result;
  });
}

Json to_json(const SpeedResult& result, const SpeedOptions& options) {
  Json json = {{"prompt", options.prompt},
               {"decode", options.decode},
               {"batch", options.batch},
               {"repetitions", options.repetitions},
               {"prefill_tokens_per_second", result.prefill_tokens_per_second},
               {"decode_tokens_per_second", result.decode_tokens_per_second}};
  if (result.gemm_tokens_per_second > 0) {
    json["gemm_tokens_per_second"] = result.gemm_tokens_per_second;
    json["share_of_gemm_rate"] = result.prefill_tokens_per_second / result.gemm_tokens_per_second;
  }
  if (result.memory_tokens_per_second > 0) {
    json["memory_tokens_per_second"] = result.memory_tokens_per_second;
    json["share_of_memory_rate"] = result.decode_tokens_per_second / result.memory_tokens_per_second;
  }
  json["peak_memory"] = result.peak_memory;
  return json;
}

}  // namespace streamline
