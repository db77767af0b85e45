// SPDX-License-Identifier: Apache-2.0
// What chips cost beside the sweep: taking the states of every text's last token, and ridge chips for all layers.
//   chip_bench MODEL [--texts 500] [--tokens 24] [--chips-of 5000] [--threads 2]
// Prints one JSON object a line. Texts of random tokens, half of them shorter.
#include "bench.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/random.h"
#include "streamline/chip/train.h"
#include "streamline/engine/sweep.h"

namespace streamline {
namespace {

struct Options {
  std::string model, dtype = "auto";
  std::int64_t texts = 500, tokens = 24, chips_of = 5000, threads = 2, repetitions = 3;
};

chip::Prompts random_texts(const Model& model, const Options& options) {
  chip::Prompts prompts;
  Rng rng(1);
  for (std::int64_t i = 0; i < options.texts; ++i) {
    auto& sequence = prompts.batches.sequences.emplace_back();
    const std::int64_t length =
        options.tokens - i % 2 * static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(options.tokens / 2)));
    for (std::int64_t t = 0; t < length; ++t)
      sequence.push_back(static_cast<TokenId>(rng.below(static_cast<std::uint64_t>(model.config().vocab))));
  }
  prompts.batches.digest = "random";
  return prompts;
}

LabelledTexts labels_for(std::int64_t texts) {
  LabelledTexts labelled;
  labelled.name = "random";
  labelled.classes = {"a", "b"};
  labelled.texts.resize(static_cast<std::size_t>(texts));
  for (std::int64_t i = 0; i < texts; ++i) labelled.labels.push_back(i % 3 == 0);
  return labelled;
}

// Sweeps with and without taking states, in turn, so that both see the same machine; medians.
void measure_features(const Model& model, const Options& options, const chip::Prompts& prompts,
                      const std::string& file) {
  const LabelledTexts labelled = labels_for(options.texts);
  chip::FeatureDescription description;
  description.task = labelled.name;
  description.classes = labelled.classes;
  description.trunk = chip::trunk_of(model);
  description.input.max_tokens = options.tokens;
  for (std::int64_t i = 0; i < model.layer_count(); ++i) description.layers.push_back(i);
  TokenBatches sorted = prompts.batches;
  std::ranges::stable_sort(sorted.sequences, {}, [](const auto& ids) { return ids.size(); });
  std::vector<double> bare, taking;
  for (std::int64_t i = 0; i <= options.repetitions; ++i) {
    Stopwatch watch;
    sweep(model, sorted, {}, {});
    const double swept = watch.seconds();
    watch = Stopwatch();
    chip::write_features(model, labelled, prompts, description, file, {.overwrite = Overwrite::yes});
    if (i == 0) continue;  // warms up
    bare.push_back(swept);
    taking.push_back(watch.seconds());
  }
  print_line({{"what", "features"},
              {"texts", options.texts},
              {"tokens", prompts.batches.tokens()},
              {"sweep_seconds", median(bare)},
              {"features_seconds", median(taking)},
              {"over_the_sweep", median(taking) / median(bare) - 1}});
}

void measure_ridge(const Model& model, const Options& options, double sweep_seconds_a_text) {
  const auto labels = torch::arange(options.chips_of, torch::kLong) % 2;
  chip::TrainOptions train{.kinds = {chip::Kind::linear}, .method = chip::Method::ridge};
  const chip::Split split = chip::split_texts(options.chips_of, train);
  torch::manual_seed(1);
  const auto states = torch::randn({options.chips_of, model.config().hidden});
  const Stopwatch watch;
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer)
    chip::train_layer(layer, states, labels, 2, 1e-6, split, train);
  print_line({{"what", "ridge chips"},
              {"texts", options.chips_of},
              {"layers", model.layer_count()},
              {"seconds", watch.seconds()},
              {"sweep_seconds", sweep_seconds_a_text * static_cast<double>(options.chips_of)}});
}

void run(const Options& options) {
  const torch::NoGradGuard no_grad;
  set_threads(static_cast<int>(options.threads));
  const Model model = Model::open(open_checkpoint(options.model), resolve_placement("cpu", options.dtype));
  const chip::Prompts prompts = random_texts(model, options);
  const std::filesystem::path file = std::filesystem::temp_directory_path() / "chip_bench.features";
  measure_features(model, options, prompts, file.string());
  std::filesystem::remove(file);
  const Stopwatch watch;
  sweep(model, prompts.batches, {}, {});
  measure_ridge(model, options, watch.seconds() / static_cast<double>(options.texts));
}

}  // namespace
}  // namespace streamline

int main(int count, char** words) {
  streamline::Options options;
  const auto declare = [&](streamline::cli::Arguments arguments) {
    arguments.add("model", options.model, "checkpoint directory or GGUF file", {.required = true});
    arguments.add("--texts", options.texts, "texts of the sweep");
    arguments.add("--tokens", options.tokens, "tokens of the longest text");
    arguments.add("--chips-of", options.chips_of, "texts that ridge chips are trained on");
    arguments.add("--threads", options.threads, "threads");
    arguments.add("--dtype", options.dtype, "compute type");
    arguments.add("--repetitions", options.repetitions, "timed runs, of which the median counts");
  };
  return streamline::run_benchmark(count, words, "chip_bench", "What chips cost beside the sweep", declare,
                                   [&] { streamline::run(options); });
}
