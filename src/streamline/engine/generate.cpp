// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "streamline/base/error.h"
#include "streamline/base/random.h"

namespace streamline {
namespace {

// Probabilities of the nucleus: the fewest most likely tokens whose probabilities reach top_p, renormalised by the
// draw.
std::size_t draw(std::span<const double> probabilities, std::span<const std::size_t> order, double top_p, Rng& rng) {
  double kept = 0;
  std::size_t count = 0;
  while (count < order.size() && (count == 0 || kept < top_p)) kept += probabilities[order[count++]];
  double target = rng.uniform() * kept;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    target -= probabilities[order[i]];
    if (target < 0) return order[i];
  }
  return order[count - 1];
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
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return probabilities[a] > probabilities[b]; });
  return static_cast<TokenId>(draw(probabilities, order, options.top_p, rng));
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
