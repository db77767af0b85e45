// SPDX-License-Identifier: Apache-2.0
// Multiple choice: questions a second when the choices share their context, and when each is a sequence of its own; and
// perplexity beside a plain sweep of the same windows and the head's bare product.
//   choice_bench MODEL [CONTEXT [ANSWER [QUESTIONS]]]     tokens of context (200) and answer (12); questions (8)
// Four choices a question, random tokens. Prints one JSON object a line.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iostream>

#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/json.h"
#include "streamline/base/random.h"
#include "streamline/base/resources.h"
#include "streamline/engine/sweep.h"
#include "streamline/eval/likelihood.h"
#include "streamline/eval/perplexity.h"

namespace streamline {
namespace {

constexpr std::int64_t kChoices = 4, kWindow = 512, kWindows = 8, kRounds = 2;

struct Shape {
  std::int64_t context = 200, answer = 12, questions = 8;
};

std::vector<TokenId> random_tokens(Rng& rng, std::int64_t count, std::int64_t vocab) {
  std::vector<TokenId> tokens;
  for (std::int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<TokenId>(rng.below(static_cast<std::uint64_t>(vocab))));
  return tokens;
}

std::vector<LikelihoodRequest> questions(const Shape& shape, std::int64_t vocab) {
  Rng rng(1);
  std::vector<LikelihoodRequest> result;
  for (std::int64_t i = 0; i < shape.questions; ++i) {
    const std::vector<TokenId> context = random_tokens(rng, shape.context, vocab);
    LikelihoodRequest request;
    for (std::int64_t choice = 0; choice < kChoices; ++choice) {
      std::vector<TokenId> tokens = context;
      for (const TokenId token : random_tokens(rng, shape.answer, vocab)) tokens.push_back(token);
      request.sequences.push_back({.tokens = std::move(tokens), .scored_from = context.size()});
    }
    result.push_back(std::move(request));
  }
  return result;
}

double seconds(const std::function<void()>& work) {
  const Stopwatch watch;
  work();
  return watch.seconds();
}

// The fastest of rounds in which the works take turns, so that both see the same machine.
std::vector<double> fastest(const std::vector<std::function<void()>>& works) {
  std::vector<double> best(works.size(), 1e30);
  for (std::int64_t round = 0; round < kRounds; ++round)
    for (std::size_t i = 0; i < works.size(); ++i) best[i] = std::min(best[i], seconds(works[i]));
  return best;
}

void choices(const Model& model, const Shape& shape) {
  const auto requests = questions(shape, model.config().vocab);
  likelihoods(model, {requests.front()}, {});  // brings the weights into memory
  const auto times =
      fastest({[&] { likelihoods(model, requests, {}); }, [&] { likelihoods(model, requests, {.share = false}); }});
  const double count = static_cast<double>(shape.questions);
  std::cout << Json({{"what", "choices"},
                     {"context", shape.context},
                     {"answer", shape.answer},
                     {"questions_per_second", count / times[0]},
                     {"questions_per_second_apart", count / times[1]},
                     {"ratio", times[1] / times[0]}})
            << std::endl;
}

void perplexities(const Model& model) {
  Rng rng(2);
  EvaluationText text;
  text.source = "random tokens";
  text.ids = random_tokens(rng, kWindow * kWindows, model.config().vocab);
  TokenBatches batches;
  for (std::int64_t i = 0; i < kWindows; ++i)
    batches.sequences.emplace_back(text.ids.begin() + i * kWindow, text.ids.begin() + (i + 1) * kWindow);
  const torch::NoGradGuard no_gradients;
  const auto hidden = torch::randn({kWindow * kWindows, model.config().hidden}).to(model.placement().dtype);
  const auto times =
      fastest({[&] { perplexity(model, text, {.window = kWindow}); }, [&] { sweep(model, batches, {}, {}); },
               [&] {
                 for (std::int64_t row = 0; row < hidden.size(0); row += kWindow)
                   model.head_logits(hidden.narrow(0, row, kWindow), 0, model.config().vocab);
               }});
  std::cout << Json({{"what", "perplexity"},
                     {"seconds", times[0]},
                     {"sweep_seconds", times[1]},
                     {"head_product_seconds", times[2]},
                     {"over_both", times[0] / (times[1] + times[2]) - 1}})
            << std::endl;
}

int run(int argc, char** argv) {
  if (argc < 2 || argc > 5) {
    std::cerr << "choice_bench MODEL [CONTEXT [ANSWER [QUESTIONS]]]\n";
    return 2;
  }
  Shape shape;
  if (argc > 2) shape.context = std::atoll(argv[2]);
  if (argc > 3) shape.answer = std::atoll(argv[3]);
  if (argc > 4) shape.questions = std::atoll(argv[4]);
  const Model model = Model::open(open_checkpoint(argv[1]), resolve_placement("cpu", "auto"));
  std::cout << Json({{"what", "placement"}, {"placement", describe(model.placement())}}) << std::endl;
  choices(model, shape);
  perplexities(model);
  return 0;
}

}  // namespace
}  // namespace streamline

int main(int argc, char** argv) {
  try {
    return streamline::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "choice_bench: " << error.what() << "\n";
    return 1;
  }
}
