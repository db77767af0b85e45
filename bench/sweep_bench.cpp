// SPDX-License-Identifier: Apache-2.0
// How fast a sweep streams tokens through the layers, what scoring every window takes beside that, and what the bare
// matrix products of the same shapes would allow.
//   sweep_bench MODEL [--seq 512,2048] [--batch-tokens 4096] [--threads 2] [--repetitions 3]
// Prints one JSON object a line. bench/compare_sweep.py runs it beside transformers.
#include "bench.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/engine/sweep.h"
#include "streamline/prune/pair_statistics.h"
#include "streamline/prune/scores.h"
#include "streamline/prune/update_pairs.h"

namespace streamline {
namespace {

struct Options {
  std::string model, dtype = "bfloat16";
  std::vector<std::int64_t> seq = {512, 2048};
  std::int64_t batch_tokens = 4096;
  std::int64_t threads = 2, repetitions = 3;
  bool statistics_only = false;
};

TokenBatches make_tokens(const Model& model, std::int64_t seq, std::int64_t batch) {
  TokenBatches batches;
  std::int64_t next = 0;
  for (std::int64_t i = 0; i < batch; ++i) {
    auto& sequence = batches.sequences.emplace_back();
    for (std::int64_t t = 0; t < seq; ++t, ++next)
      sequence.push_back(static_cast<TokenId>(next * 7919 % model.config().vocab));
  }
  return batches;
}

// The seven products of every layer and nothing else, each from an input of its own width.
void run_products(const Model& model, const torch::Tensor& hidden, const torch::Tensor& inner) {
  for (std::int64_t i = 0; i < model.layer_count(); ++i)
    for (const auto& [role, pair] : model.layer(i).tensors) {
      if (pair.weight.dim() != 2) continue;
      torch::linear(pair.weight.size(1) == hidden.size(1) ? hidden : inner, pair.weight);
    }
}

void print(const std::string& what, std::int64_t seq, std::int64_t tokens, double seconds) {
  Json line = {{"what", what}, {"seq", seq}, {"tokens_per_second", static_cast<double>(tokens) / seconds}};
  line["private_memory"] = private_memory();
  std::cout << line.dump() << std::endl;
}

// What scoring does beside the sweep, alone: the difference of two sweeps drowns in what a machine does from minute to
// minute.
void print_statistics(const Model& model, std::int64_t seq, int repetitions) {
  std::vector<torch::Tensor> states;
  for (std::int64_t i = 0; i <= model.layer_count(); ++i)
    states.push_back(torch::randn({seq, model.config().hidden}).to(model.placement().dtype));
  print("statistics", seq, seq, median_seconds(repetitions, [&] {
          pair_statistics(states);
          // A layer and its two halves; any three pairs of states cost the same.
          for (std::size_t i = 0; i + 1 < states.size(); ++i)
            update_statistics(std::vector<StatePair>(3, {states[i], states[i + 1]}));
        }));
}

void run(const Options& options) {
  const torch::NoGradGuard no_grad;
  set_threads(static_cast<int>(options.threads));
  const Stopwatch watch;
  const Model model = Model::open(open_checkpoint(options.model), resolve_placement("cpu", options.dtype));
  std::cout << Json{{"what", "open"}, {"seconds", watch.seconds()}}.dump() << std::endl;
  for (const std::int64_t seq : options.seq) {
    const std::int64_t batch = std::max<std::int64_t>(1, options.batch_tokens / seq), tokens = batch * seq;
    if (options.statistics_only) {
      print_statistics(model, seq, options.repetitions);
      continue;
    }
    const TokenBatches batches = make_tokens(model, seq, batch);
    const SweepOptions sweep_options{.batch_tokens = options.batch_tokens};
    print("sweep", seq, tokens, median_seconds(options.repetitions, [&] { sweep(model, batches, sweep_options, {}); }));
    print("score", seq, tokens,
          median_seconds(options.repetitions, [&] { score_layers(model, batches, sweep_options); }));
    print_statistics(model, seq, options.repetitions);
    const auto hidden = torch::randn({tokens, model.config().hidden}).to(model.placement().dtype);
    const std::int64_t width = model.layer(0).at(Role::down).weight.size(1);
    const auto inner = torch::randn({tokens, width}).to(model.placement().dtype);
    print("gemm", seq, tokens, median_seconds(options.repetitions, [&] { run_products(model, hidden, inner); }));
  }
}

}  // namespace
}  // namespace streamline

int main(int count, char** words) {
  streamline::Options options;
  const auto declare = [&](streamline::cli::Arguments arguments) {
    arguments.add("model", options.model, "checkpoint directory or GGUF file", {.required = true});
    arguments.add("--seq", options.seq, "tokens a sequence");
    arguments.add("--batch-tokens", options.batch_tokens, "tokens that run together");
    arguments.add("--threads", options.threads, "threads");
    arguments.add("--dtype", options.dtype, "compute type");
    arguments.add("--repetitions", options.repetitions, "timed runs, of which the median counts");
    arguments.flag("--statistics-only", options.statistics_only, "time what scoring adds, and nothing else");
  };
  return streamline::run_benchmark(count, words, "sweep_bench",
                                   "Tokens a second of a sweep, and of its matrix products alone", declare,
                                   [&] { streamline::run(options); });
}
