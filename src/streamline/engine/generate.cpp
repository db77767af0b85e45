// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "streamline/base/error.h"
#include "streamline/base/random.h"

namespace streamline {
namespace {

// The nucleus: the fewest most likely tokens whose probabilities reach top_p, the likeliest first; with 1 all of them,
// in their own order. No more of a vocabulary is sorted than is looked at.
std::vector<std::size_t> nucleus(std::span<const double> probabilities, double top_p) {
  std::vector<std::size_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (top_p >= 1) return order;
  const auto likelier = [&](std::size_t a, std::size_t b) {
    return probabilities[a] != probabilities[b] ? probabilities[a] > probabilities[b] : a < b;
  };
  double kept = 0;
  std::size_t count = 0, sorted = 0;
  for (; count < order.size() && (count == 0 || kept < top_p); ++count) {
    if (count == sorted) {
      const auto at = [&](std::size_t place) { return order.begin() + static_cast<std::ptrdiff_t>(place); };
      sorted = std::min(order.size(), std::max<std::size_t>(64, 8 * sorted));
      std::partial_sort(at(count), at(sorted), order.end(), likelier);
    }
    kept += probabilities[order[count]];
  }
  order.resize(count);
  return order;
}

// One of these tokens, by their probabilities among one another.
std::size_t draw(std::span<const double> probabilities, std::span<const std::size_t> tokens, Rng& rng) {
  double kept = 0;
  for (const std::size_t token : tokens) kept += probabilities[token];
  double target = rng.uniform() * kept;
  for (const std::size_t token : tokens) {
    target -= probabilities[token];
    if (target < 0) return token;
  }
  return tokens.back();
}

// logits: fp32 on the CPU, one a token of the vocabulary.
TokenId choose(std::span<const float> logits, const GenerateOptions& options, Rng& rng) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (!std::isfinite(*best)) fail(ErrorKind::numeric, "the model's logits are not finite; are its weights damaged?");
  if (options.temperature <= 0) return static_cast<TokenId>(best - logits.begin());
  std::vector<double> probabilities(logits.size());
  double sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i)
    sum += probabilities[i] = std::exp((static_cast<double>(logits[i]) - *best) / options.temperature);
  for (double& p : probabilities) p /= sum;
  return static_cast<TokenId>(draw(probabilities, nucleus(probabilities, options.top_p), rng));
}

// Logits behind the last of the tokens, [vocab] fp32 on the CPU.
torch::Tensor step(Decoder& decoder, const std::vector<std::int64_t>& ids) {
  const torch::Tensor logits = decoder.read(torch::tensor(ids, torch::kLong).unsqueeze(0));
  return logits.flatten().to(torch::kCPU, torch::kFloat).contiguous();
}

void check(const Model& model, const std::vector<TokenId>& prompt, const GenerateOptions& options) {
  if (prompt.empty()) fail(ErrorKind::usage, "the prompt has no tokens; generation needs at least one");
  if (!(options.top_p > 0 && options.top_p <= 1))
    fail(ErrorKind::usage, "top-p is ", options.top_p, "; it takes (0, 1]");
  const auto total = static_cast<std::int64_t>(prompt.size()) + options.max_tokens;
  if (model.config().max_positions > 0 && total > model.config().max_positions)
    fail(ErrorKind::mismatch, "a prompt of ", prompt.size(), " tokens and ", options.max_tokens,
         " new ones exceed the model's ", model.config().max_positions, " positions; ask for fewer");
}

}  // namespace

std::vector<TokenId> generate(const PhasedModel& model, const std::vector<TokenId>& prompt,
                              const GenerateOptions& options, const std::function<bool(TokenId)>& on_token) {
  check(model.prefill(), prompt, options);
  const torch::NoGradGuard no_grad;
  Rng rng(options.seed);
  Decoder decoder(model);
  std::vector<TokenId> result;
  std::vector<std::int64_t> next(prompt.begin(), prompt.end());
  while (static_cast<std::int64_t>(result.size()) < options.max_tokens) {
    const torch::Tensor logits = translating_errors([&] { return step(decoder, next); });
    const std::span<const float> values(logits.const_data_ptr<float>(), static_cast<std::size_t>(logits.numel()));
    const TokenId token = choose(values, options, rng);
    if (std::find(options.stop.begin(), options.stop.end(), token) != options.stop.end()) break;
    result.push_back(token);
    if (on_token && !on_token(token)) break;
    next = {token};
  }
  return result;
}

}  // namespace streamline
