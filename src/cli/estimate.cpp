// SPDX-License-Identifier: Apache-2.0
#include "estimate.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "options.h"
#include "streamline/base/error.h"
#include "streamline/base/resources.h"
#include "streamline/engine/memory.h"
#include "streamline/engine/tail.h"
#include "streamline/eval/work_rates.h"
#include "streamline/heal/adamw.h"
#include "streamline/heal/adapters.h"
#include "streamline/heal/heal_memory.h"
#include "streamline/heal/initial.h"
#include "streamline/heal/pace.h"
#include "streamline/heal/student.h"
#include "streamline/heal/tuning.h"
#include "streamline/nn/type_name.h"
#include "streamline/prune/scores.h"
#include "training.h"

namespace streamline::cli {
namespace {

constexpr std::uint64_t kReportBytes = 1'500'000;  // report.html, which carries its charts' program
constexpr std::int64_t kMicroBatch = 2048;         // tokens
constexpr std::int64_t kVerifiedTokens = 32;       // that a written result is checked with, twice

// Since this process began, what it took to load the program and to open the model among it.
double process_seconds() {
  std::ifstream stat("/proc/self/stat"), uptime("/proc/uptime");
  std::string word;
  for (int i = 0; i < 22 && stat >> word;) ++i;  // field 22: ticks from boot to start
  double up = 0;
  uptime >> up;
  return std::max(0.0, up - std::atof(word.c_str()) / static_cast<double>(::sysconf(_SC_CLK_TCK)));
}

// Sequences of one length, about whose tokens nothing is known.
TokenBatches blank_text(std::int64_t sequences, std::int64_t length) {
  TokenBatches text;
  text.sequences.assign(static_cast<std::size_t>(sequences), std::vector<TokenId>(static_cast<std::size_t>(length)));
  return text;
}

class Estimator {
 public:
  Estimator(const OpenedModel& opened, const EstimateOptions& options, std::uint64_t seed)
      : opened_(opened), model_(opened.model), options_(options), seq_(sequence_length(opened, options.data)) {
    add_stage("start", process_seconds(), 0);
    read_text(seed);
    files_ = measure_files(model_);
    rates_ = measure_forward(model_, seq_);
  }

  Json run() {
    if (options_.command == "score") score();
    if (options_.command == "prune") prune();
    if (options_.command == "heal") heal_all_layers();
    return result();
  }

 private:
  void read_text(std::uint64_t seed) {
    const Stopwatch watch;
    const bool trains = options_.command != "score";
    calibration_tokens_ = options_.data.samples * seq_;
    training_ = blank_text(std::max<std::int64_t>(1, options_.tokens / seq_), seq_);
    validation_ = blank_text(options_.validation_sequences, seq_);
    if (!options_.data.path.empty()) {
      if (options_.command != "heal") calibration_tokens_ = load_calibration(opened_, options_.data, seed).tokens();
      if (trains) {
        SplitSequences split =
            load_training_text(opened_, options_.data, options_.tokens, options_.validation_sequences, seed);
        training_ = std::move(split.training);
        validation_ = std::move(split.validation);
      }
    }
    check_sweep_memory(model_, seq_);
    add_stage("read text", watch.seconds(), 0);
  }

  void add_stage(const std::string& name, double seconds, std::uint64_t memory) {
    stages_.push_back({{"name", name}, {"seconds", seconds}, {"memory", base_ + memory}});
  }

  // Seconds of a pass over the weights of the first layers that computes for so long. The first pass finds what is on
  // the disk; later ones too, where the weights cannot stay.
  double pass(double computing, double share, std::uint64_t memory) {
    if (files_.bytes_per_second <= 0) return computing;
    const bool stay = weights_stay(model_, memory);
    const double bytes = static_cast<double>(stay ? on_disk_once() : files_.bytes);
    const double reading = share * bytes / files_.bytes_per_second;
    return stay ? computing + reading : std::max(computing, reading);
  }
  std::uint64_t on_disk_once() { return std::exchange(files_.on_disk, 0); }

  std::uint64_t sweep_bytes(std::int64_t tokens, Keeps keeps) const {
    const std::int64_t together = std::min(default_batch_tokens(model_), std::max(seq_, tokens));
    return sweep_memory(model_, seq_, together, keeps);
  }

  double statistics_seconds() const {
    const torch::NoGradGuard no_gradients;
    const std::int64_t layers = model_.layer_count();
    std::vector<torch::Tensor> states;
    for (std::int64_t i = 0; i <= layers; ++i) states.push_back(random_states(model_, 1, seq_)[0]);
    ScoreAccumulator accumulator(layers);
    const double pairs = repeated_seconds([&] { accumulator.add(states, states.back()); });
    const torch::Tensor in = states[0].unsqueeze(0), middle = states[1].unsqueeze(0), out = states.back().unsqueeze(0);
    const double updates =
        repeated_seconds([&] { accumulator.add_layer(model_.config().layers[0], 0, in, middle, out); }, 0.05);
    return (pairs + updates * static_cast<double>(layers)) / static_cast<double>(seq_);
  }

  void score() {
    const std::uint64_t memory = sweep_bytes(calibration_tokens_, Keeps::all_states);
    const bool stay = weights_stay(model_, memory);
    const double computing = static_cast<double>(calibration_tokens_) * (rates_.halves + statistics_seconds());
    if (!stay)
      temporary_ =
          static_cast<std::uint64_t>(calibration_tokens_ * (model_.layer_count() + 1) * model_.config().hidden) *
          torch::elementSize(model_.placement().dtype);
    add_stage("score", pass(computing, 1, memory), stay ? memory : sweep_bytes(calibration_tokens_, Keeps::nothing));
  }

  // Perplexity, and speed where it is asked for, of so large a share of the layers.
  void measure(const std::string& name, double share, std::int64_t tokens, bool speed) {
    const std::uint64_t memory = sweep_bytes(tokens, Keeps::nothing);
    double seconds = static_cast<double>(tokens) * (share * rates_.layers + rates_.head);
    // Four prompts of a window, of which one does not count, and 32 tokens behind each.
    if (speed) seconds += 4 * (static_cast<double>(seq_) * share * rates_.layers + 32 * share * rates_.decode);
    add_stage(name, pass(seconds, share, memory), memory);
  }

  std::int64_t evaluated_tokens() const {
    return std::min(options_.evaluation_windows, validation_.tokens() / seq_) * seq_;
  }

  struct Network {
    double token = 0, step = 0;  // seconds
    std::int64_t parameters = 0;
  };

  Network measure_network(const ReplacementChoice& choice) const {
    const Replacement& network = *choice.network;
    if (!network.is_trained()) return {};
    Rng rng(0);
    const LayerWeights weights = random_weights(model_.config(), usual_shape(network, model_.config()), rng);
    const std::vector<LayerWeights> row(static_cast<std::size_t>(choice.count), weights);
    Student student(model_.config(), model_.placement(), row, network.learns);
    const std::int64_t batch =
        std::min(measured_sequences(model_, seq_), std::max<std::int64_t>(1, kMicroBatch / seq_));
    const torch::Tensor input = random_states(model_, batch, seq_);
    Network result{.parameters = student.parameter_count()};
    result.token = repeated_seconds([&] {
                     student.add_gradient(input, [](const torch::Tensor& prediction) { return prediction * 1e-3; });
                   }) /
                   static_cast<double>(batch * seq_);
    AdamW optimizer(student.parameters(), {});
    result.step = repeated_seconds(
        [&] {
          for (const torch::Tensor& parameter : student.parameters())
            if (!parameter.grad().defined()) torch::Tensor(parameter).mutable_grad() = torch::zeros_like(parameter);
          clip_gradients(student.parameters(), 5);
          optimizer.step(1e-4);
        },
        0.1);
    return result;
  }

  // Tokens of the validation text that a training looks at, all looks together.
  double validated_tokens(const Pace& pace) const {
    const auto looks = static_cast<double>((pace.steps + pace.validate_every - 1) / pace.validate_every);
    return (looks + 2) * static_cast<double>(validation_.tokens());
  }

  void prune() {
    score();
    const std::int64_t layers = model_.layer_count();
    const auto share = [&](std::int64_t count) {
      return rates_.share(model_, model_.truncated(std::clamp<std::int64_t>(count, 0, layers)));
    };
    const bool heals = options_.replacement != "none";
    measure("measure source", 1, evaluated_tokens(), !options_.no_speed);
    measure("measure cut", share(layers - options_.cut), evaluated_tokens(), !options_.no_speed);
    std::int64_t parameters = 0;
    if (heals) {
      const ReplacementChoice choice = parse_replacement(options_.replacement);
      const Network network = measure_network(choice);
      const Pace pace = pace_of(training_, validation_, 1e-3, {.epochs = options_.epochs});
      // A window whose place is not said is taken to end before the last layer.
      const std::int64_t first =
          options_.start >= 0 ? options_.start : std::max<std::int64_t>(0, layers - 1 - options_.cut);
      const std::int64_t end = std::min(layers, first + options_.cut);
      const double trained = static_cast<double>(training_.tokens() * options_.epochs), seen = validated_tokens(pace);
      const HealMemory use{.model = model_,
                           .window = {.first = first, .count = options_.cut},
                           .shape = usual_shape(*choice.network, model_.config()),
                           .networks = choice.count,
                           .longest = seq_};
      const std::int64_t together = fitting_micro_batch(use, pace.micro_batch_tokens, false, {});
      const double seconds = (trained + seen) * share(end) * rates_.layers + trained * network.token +
                             seen * network.token / 3 + static_cast<double>(pace.steps) * network.step;
      const double passes = std::ceil((trained + seen) / static_cast<double>(together));
      const std::uint64_t memory = heal_memory(use, together);
      const bool stay = weights_stay(model_, memory);
      add_stage("heal", stay ? pass(seconds, 0, memory) : passes * pass(seconds / passes, share(end), memory), memory);
      parameters = choice.count * replacement_parameters(*choice.network, model_.config(), first);
      measure("measure healed", share(layers - options_.cut + 1), evaluated_tokens(), !options_.no_speed);
    }
    const Model smaller = model_.truncated(std::clamp<std::int64_t>(layers - options_.cut, 0, layers));
    const double stored = static_cast<double>(model_.weight_bytes()) / static_cast<double>(model_.parameters());
    write(smaller.weight_bytes() + static_cast<std::uint64_t>(stored * static_cast<double>(parameters)),
          share(layers - options_.cut));
  }

  void write(std::uint64_t bytes, double share) {
    disk_ = bytes + kReportBytes;
    const double checking = static_cast<double>(2 * kVerifiedTokens) * (share * rates_.layers + rates_.head);
    add_stage("write and verify", static_cast<double>(disk_) / measure_writing() + checking,
              model_.config().vocab * kVerifiedTokens * 16);
  }

  void heal_all_layers() {
    if (options_.evaluates) measure("measure source", 1, options_.evaluation_windows * seq_, false);
    const Pace pace = pace_of(training_, validation_, 1e-3,
                              {.epochs = options_.epochs, .batch_tokens = 16 * longest_sequence(training_)});
    const double trained = static_cast<double>(training_.tokens() * options_.epochs), seen = validated_tokens(pace);
    const HealMemory use{.model = model_,
                         .window = {},
                         .shape = {},
                         .networks = 0,
                         .longest = seq_,
                         .on_logits = true,
                         .beside = static_cast<std::uint64_t>(kTrainedBytes * adapter_parameters())};
    const std::int64_t together = fitting_micro_batch(use, pace.micro_batch_tokens, false, {});
    const double seconds = trained * adapters_seconds() + seen * (rates_.layers + rates_.head);
    add_stage("heal", pass(seconds, 1, heal_memory(use, together)), heal_memory(use, together));
    if (options_.evaluates) measure("measure healed", 1, options_.evaluation_windows * seq_, false);
    write(model_.weight_bytes(), 1);
  }

  // Of those that `heal` trains unless it is told otherwise.
  std::int64_t adapter_parameters() const {
    Rng rng(0);
    return initial_adapters(model_.truncated(1), {}, rng).parameters() * model_.layer_count();
  }

  // A token forward and back through all layers with adapters, and the head.
  double adapters_seconds() const {
    const Model one = model_.truncated(std::min<std::int64_t>(1, model_.layer_count())), none = model_.truncated(0);
    Rng rng(0);
    Adapters adapters = initial_adapters(one, {}, rng);
    for (Adapter& adapter : adapters.list)
      for (torch::Tensor* tensor : adapter.tensors()) tensor->requires_grad_(true);
    const torch::Tensor ids =
        torch::zeros({std::max<std::int64_t>(1, std::min(measured_sequences(model_, seq_), kMicroBatch / seq_)), seq_},
                     torch::kLong);
    const torch::Tensor x = random_states(model_, ids.size(0), seq_);
    const Tail with(one, 0, [&](std::int64_t layer) {
      LayerWeights weights = one.layer(layer);
      attach(adapters, layer, 1, weights);
      return weights;
    });
    const Tail head(none, 0);
    const double both = repeated_seconds([&] { with.next_token(x, ids, /*gradient=*/true); });
    const double alone = repeated_seconds([&] { head.next_token(x, ids, /*gradient=*/true); });
    const double layers = 1 / rates_.share(model_, one);
    return ((both - alone) * layers + alone) / static_cast<double>(ids.numel());
  }

  Json result() const {
    double seconds = 0;
    std::uint64_t memory = 0;
    for (const Json& stage : stages_) {
      seconds += stage["seconds"].get<double>();
      memory = std::max(memory, stage["memory"].get<std::uint64_t>());
    }
    return {{"command", options_.command},
            {"stages", stages_},
            {"seconds", seconds},
            {"memory", memory},
            {"mapped", files_.bytes},
            {"disk", disk_},
            {"temporary_disk", temporary_},
            {"measured",
             {{"threads", torch::get_num_threads()},
              {"dtype", type_name(model_.placement().dtype)},
              {"seq_len", seq_},
              {"tokens_per_second", 1 / rates_.layers},
              {"disk_bytes_per_second", files_.bytes_per_second}}}};
  }

  const OpenedModel& opened_;
  const Model& model_;
  const EstimateOptions& options_;
  std::int64_t seq_, calibration_tokens_ = 0;
  std::uint64_t base_ = private_memory(), disk_ = 0, temporary_ = 0;
  TokenBatches training_ = {}, validation_ = {};
  WeightFiles files_ = {};
  ForwardRates rates_ = {};
  Json stages_ = Json::array();
};

}  // namespace

Json estimate(const std::string& model, const EstimateOptions& options, const CommonOptions& common) {
  const OpenedModel opened = open_model(model, start(common));
  return translating_errors([&] { return Estimator(opened, options, common.seed).run(); });
}

}  // namespace streamline::cli
