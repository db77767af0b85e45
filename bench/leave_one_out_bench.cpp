// SPDX-License-Identifier: Apache-2.0
// Leave-one-out over all layers of a model, and BlockPruner's first round over its halves, each beside as many
// evaluations of the whole model on the same tokens.
//   leave_one_out_bench MODEL [--windows 2] [--window 512]     windows of so many random tokens
// The fastest of two rounds in turn. Prints one JSON object a line.
#include <numeric>

#include "bench.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/random.h"
#include "streamline/eval/perplexity.h"
#include "streamline/prune/half_losses.h"
#include "streamline/prune/leave_one_out.h"

namespace streamline {
namespace {

constexpr int kRounds = 2;

void run(const std::string& path, std::int64_t windows, std::int64_t window) {
  const Model model = Model::open(open_checkpoint(path), resolve_placement("cpu", "auto"));
  Rng rng(1);
  EvaluationText text;
  text.source = "random tokens";
  TokenBatches batches;
  for (std::int64_t i = 0; i < windows * window; ++i)
    text.ids.push_back(static_cast<TokenId>(rng.below(static_cast<std::uint64_t>(model.config().vocab))));
  for (auto first = text.ids.begin(); first != text.ids.end(); first += window)
    batches.sequences.emplace_back(first, first + window);
  const std::vector<StackPart> stack = layer_parts(model);
  std::vector<std::size_t> all(stack.size());
  std::iota(all.begin(), all.end(), 0);
  const std::vector<Half> halves = all_halves(model);
  double layers_seconds = 1e30, halves_seconds = 1e30, whole_seconds = 1e30;
  const auto keep_fastest = [](double& seconds, const auto& work) {
    const Stopwatch watch;
    work();
    seconds = std::min(seconds, watch.seconds());
  };
  for (int round = 0; round < kRounds; ++round) {
    PartCounter parts;
    HalfCounter counter;
    keep_fastest(layers_seconds, [&] { leave_one_out(model, stack, all, batches, {}, parts); });
    keep_fastest(halves_seconds, [&] { half_losses(model, halves, halves, batches, {}, counter); });
    keep_fastest(whole_seconds, [&] { perplexity(model, text, {.window = window}, std::nullopt); });
  }
  const auto print = [&](const std::string& what, std::size_t candidates, double seconds) {
    print_line({{"what", what},
                {"placement", describe(model.placement())},
                {"candidates", candidates},
                {"windows", windows},
                {"window", window},
                {"seconds", seconds},
                {"evaluation_seconds", whole_seconds},
                {"share", seconds / (whole_seconds * static_cast<double>(candidates))}});
  };
  print("leave-one-out", stack.size(), layers_seconds);
  print("a round of blockpruner", halves.size(), halves_seconds);
}

}  // namespace
}  // namespace streamline

int main(int count, char** words) {
  std::string model;
  std::int64_t windows = 2, window = 512;
  const auto declare = [&](streamline::cli::Arguments arguments) {
    arguments.add("model", model, "checkpoint directory or GGUF file", {.required = true});
    arguments.add("--windows", windows, "windows of random tokens");
    arguments.add("--window", window, "tokens a window");
  };
  return streamline::run_benchmark(
      count, words, "leave_one_out_bench",
      "Leave-one-out and a round of BlockPruner beside as many evaluations of the whole model", declare,
      [&] { streamline::run(model, windows, window); });
}
