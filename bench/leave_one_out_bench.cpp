// SPDX-License-Identifier: Apache-2.0
// Leave-one-out over all layers of a model, beside as many evaluations of the whole model on the same tokens.
//   leave_one_out_bench MODEL [--windows 2] [--window 512]     windows of so many random tokens
// The fastest of two rounds in turn. Prints one JSON object a line.
#include <numeric>

#include "bench.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/random.h"
#include "streamline/eval/perplexity.h"
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
  double shared = 1e30, apart = 1e30;
  for (int round = 0; round < kRounds; ++round) {
    PartCounter counter;
    const Stopwatch first;
    leave_one_out(model, stack, all, batches, {}, counter);
    shared = std::min(shared, first.seconds());
    const Stopwatch second;
    for (std::size_t i = 0; i < stack.size(); ++i) perplexity(model, text, {.window = window}, std::nullopt);
    apart = std::min(apart, second.seconds());
  }
  print_line({{"what", "leave-one-out"},
              {"placement", describe(model.placement())},
              {"layers", stack.size()},
              {"windows", windows},
              {"window", window},
              {"seconds", shared},
              {"full_evaluations_seconds", apart},
              {"share", shared / apart}});
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
  return streamline::run_benchmark(count, words, "leave_one_out_bench",
                                   "Leave-one-out beside as many evaluations of the whole model", declare,
                                   [&] { streamline::run(model, windows, window); });
}
