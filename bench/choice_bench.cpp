// SPDX-License-Identifier: Apache-2.0
// Multiple choice: questions a second when the choices share their context, and when each is a sequence of its own; and
// perplexity beside a plain sweep of the same windows and the head's bare product.
//   choice_bench MODEL [--context 200] [--answer 12] [--questions 8]     tokens of context and answer
// Four choices a question, random tokens. Prints one JSON object a line.
#include <functional>

#include "bench.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/random.h"
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
  print_line({{"what", "choices"},
              {"context", shape.context},
              {"answer", shape.answer},
              {"questions_per_second", count / times[0]},
              {"questions_per_second_apart", count / times[1]},
              {"ratio", times[1] / times[0]}});
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
  print_line({{"what", "perplexity"},
              {"seconds", times[0]},
              {"sweep_seconds", times[1]},
              {"head_product_seconds", times[2]},
              {"over_both", times[0] / (times[1] + times[2]) - 1}});
}

void run(const std::string& path, const Shape& shape) {
  const Model model = Model::open(open_checkpoint(path), resolve_placement("cpu", "auto"));
  print_line({{"what", "placement"}, {"placement", describe(model.placement())}});
  choices(model, shape);
  perplexities(model);
}

}  // namespace
}  // namespace streamline

int main(int count, char** words) {
  std::string model;
  streamline::Shape shape;
  const auto declare = [&](streamline::cli::Arguments arguments) {
    arguments.add("model", model, "checkpoint directory or GGUF file", {.required = true});
    arguments.add("--context", shape.context, "tokens that the choices of a question share");
    arguments.add("--answer", shape.answer, "tokens of each choice");
    arguments.add("--questions", shape.questions, "questions");
  };
  return streamline::run_benchmark(count, words, "choice_bench",
                                   "Multiple choice with and without sharing contexts, and perplexity beside a sweep",
                                   declare, [&] { streamline::run(model, shape); });
}
