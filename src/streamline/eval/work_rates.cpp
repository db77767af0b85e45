// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/work_rates.h"

#include <sys/mman.h>

#include <algorithm>

#include "streamline/base/residency.h"
#include "streamline/base/resources.h"
#include "streamline/base/scratch_file.h"
#include "streamline/engine/decoder.h"
#include "streamline/engine/memory.h"
#include "streamline/eval/token_loss.h"
#include "streamline/nn/block_halves.h"

namespace streamline {
namespace {

constexpr double kMeasured = 0.3;                       // seconds of a layer at once, about
constexpr std::size_t kSample = std::size_t{32} << 20;  // bytes read or written to measure a disk

double parameters_of(const Model& model, std::int64_t layer) {
  const Config& config = model.config();
  return static_cast<double>(layer_parameters(config, config.layers[static_cast<std::size_t>(layer)]));
}

double layer_parameters_of(const Model& model) {
  double sum = 0;
  for (std::int64_t i = 0; i < model.layer_count(); ++i) sum += parameters_of(model, i);
  return sum;
}

// One of the layers with the most parameters, away from the ends.
std::int64_t measured_layer(const Model& model) {
  std::int64_t found = model.layer_count() / 2;
  for (std::int64_t i = 0; i < model.layer_count(); ++i)
    if (parameters_of(model, i) > parameters_of(model, found)) found = i;
  return found;
}

double head_seconds(const Model& model) {
  const std::int64_t rows =
      std::clamp<std::int64_t>(256'000'000 / (model.config().hidden * model.config().vocab), 16, 512);
  const torch::Tensor hidden = random_states(model, 1, rows)[0];
  const std::vector<std::int64_t> targets(static_cast<std::size_t>(rows), 1);
  return repeated_seconds([&] { token_losses(model, hidden, targets); }) / static_cast<double>(rows);
}

}  // namespace

double repeated_seconds(const std::function<void()>& work, double least) {
  work();
  std::vector<double> seconds;
  double spent = 0;
  do {
    const Stopwatch watch;
    work();
    seconds.push_back(watch.seconds());
    spent += seconds.back();
  } while (spent < least);
  std::nth_element(seconds.begin(), seconds.begin() + std::ssize(seconds) / 2, seconds.end());
  return seconds[seconds.size() / 2];
}

torch::Tensor random_states(const Model& model, std::int64_t batch, std::int64_t seq) {
  return torch::randn({batch, seq, model.config().hidden}).to(model.placement().device, model.placement().dtype);
}

std::int64_t measured_sequences(const Model& model, std::int64_t seq_len) {
  const torch::NoGradGuard no_gradients;
  if (model.layer_count() == 0) return 1;
  const Positions positions = rope_positions(model.config(), 0, seq_len, model.placement().device);
  const LayerWeights weights = model.layer(measured_layer(model));
  const torch::Tensor x = random_states(model, 1, seq_len);
  const double one = repeated_seconds([&] { block_forward(model.config(), weights, x, positions); }, 0);
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(kMeasured / one), 1,
                                  std::max<std::int64_t>(1, default_batch_tokens(model) / seq_len));
}

double ForwardRates::share(const Model& whole, const Model& part) const {
  return layer_parameters_of(part) / std::max(1.0, layer_parameters_of(whole));
}

ForwardRates measure_forward(const Model& model, std::int64_t seq_len) {
  const torch::NoGradGuard no_gradients;
  ForwardRates rates{.head = head_seconds(model)};
  if (model.layer_count() == 0) return rates;
  const std::int64_t layer = measured_layer(model), batch = measured_sequences(model, seq_len);
  const double tokens = static_cast<double>(batch * seq_len);
  const double as_many = layer_parameters_of(model) / parameters_of(model, layer);
  const Positions positions = rope_positions(model.config(), 0, seq_len, model.placement().device);
  // Where weights are converted on the CPU, each batch pays for it.
  const auto use = model.placement().device.is_cpu() ? Model::Use::once : Model::Use::often;
  const torch::Tensor x = random_states(model, batch, seq_len);
  rates.layers = as_many / tokens *
                 repeated_seconds([&] { block_forward(model.config(), model.layer(layer, use), x, positions); });
  rates.halves = as_many / tokens * repeated_seconds([&] {
                   torch::Tensor middle;
                   block_forward_halves(model.config(), model.layer(layer, use), x, positions, middle);
                 });
  const torch::Tensor token = random_states(model, 1, 1);
  const Positions first = rope_positions(model.config(), 0, 1, model.placement().device);
  rates.decode =
      as_many * repeated_seconds([&] { block_forward(model.config(), model.layer(layer), token, first); }, 0.05) +
      repeated_seconds([&] { model.logits(token); }, 0.05);
  return rates;
}

WeightFiles measure_files(const Model& model) {
  WeightFiles files;
  std::span<const std::byte> cold;  // the largest tensor of which nothing is in memory
  for (const TensorInfo& info : model.checkpoint().tensors()) {
    const std::span<const std::byte> bytes = model.checkpoint().mapped_bytes(info);
    const std::uint64_t resident = resident_bytes(bytes);
    files.bytes += bytes.size();
    files.on_disk += bytes.size() - resident;
    if (resident == 0 && bytes.size() > cold.size()) cold = bytes;
  }
  if (cold.empty()) return files;
  cold = cold.first(std::min(cold.size(), kSample));
  const Stopwatch watch;
  will_need(cold);
  const auto* touched = static_cast<const volatile std::byte*>(cold.data());
  for (std::size_t i = 0; i < cold.size(); i += 4096) static_cast<void>(touched[i]);
  files.bytes_per_second = static_cast<double>(cold.size()) / std::max(1e-6, watch.seconds());
  return files;
}

double measure_writing() {
  const ScratchFile file(kSample);
  const Stopwatch watch;
  std::ranges::fill(file.bytes(), std::byte{1});
  ::msync(file.bytes().data(), file.bytes().size(), MS_SYNC);
  return static_cast<double>(kSample) / watch.seconds();
}

}  // namespace streamline
