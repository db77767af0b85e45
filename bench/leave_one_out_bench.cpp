// SPDX-License-Identifier: Apache-2.0
// Leave-one-out over all layers of a model, beside as many evaluations of the whole model on the same tokens.
//   leave_one_out_bench MODEL [WINDOWS [WINDOW]]     windows of text (2) of so many random tokens (512)
// The fastest of two rounds in turn. Prints one JSON object a line.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <numeric>

#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/random.h"
#include "streamline/base/resources.h"
#include "streamline/eval/perplexity.h"
#include "streamline/prune/leave_one_out.h"

namespace streamline {
namespace {

constexpr int kRounds = 2;

int run(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    std::cerr << "leave_one_out_bench MODEL [WINDOWS [WINDOW]]\n";
    return 2;
  }
  const std::int64_t windows = argc > 2 ? std::atoll(argv[2]) : 2, window = argc > 3 ? std::atoll(argv[3]) : 512;
  const Model model = Model::open(open_checkpoint(argv[1]), resolve_placement("cpu", "auto"));
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
  std::cout << Json({{"what", "leave-one-out"},
                     {"placement", describe(model.placement())},
                     {"layers", stack.size()},
                     {"windows", windows},
                     {"window", window},
                     {"seconds", shared},
                     {"full_evaluations_seconds", apart},
                     {"share", shared / apart}})
            << std::endl;
  return 0;
}

}  // namespace
}  // namespace streamline

int main(int argc, char** argv) {
  try {
    return streamline::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "leave_one_out_bench: " << error.what() << "\n";
    return 1;
  }
}
