// SPDX-License-Identifier: Apache-2.0
// Perplexity of a model on windows of text.
#pragma once

#include <functional>
#include <span>

#include "streamline/base/json.h"
#include "streamline/base/stats.h"
#include "streamline/engine/model.h"
#include "streamline/text/corpus.h"

namespace streamline {

struct PerplexityOptions {
  std::int64_t window = 512;
  std::int64_t stride = 0;       // 0 = window. Smaller: only the last `stride` tokens of each later window are scored
  std::int64_t max_windows = 0;  // 0: all
  bool bos = false;              // BOS in front of each window; the same tokens are scored
  std::int64_t batch_tokens = 0;
  bool progress = false;
  bool beyond_positions = false;  // allow windows longer than the model's positions
};

struct PerplexityResult {
  double value = 0;  // exp(sum of negative log likelihoods / scored tokens)
  // Of value, from the spread of the windows' means (delta method); of one window there is none.
  std::optional<double> standard_error = {};
  double mean_nll = 0;       // nats a token
  double bits_per_byte = 0;  // summed nll / ln 2 / UTF-8 bytes of the text scored
  std::int64_t tokens = 0, windows = 0;
  std::vector<double> window_nll;           // summed, a window
  std::vector<std::int64_t> window_tokens;  // scored
};

// Mean over windows of e to each window's mean: the perplexity of the study of depth pruning (arXiv 2407.16286,
// released code). With as many scored tokens in each it is never below `value`.
double mean_of_windows(const PerplexityResult& result);

// Mean over tokens of a sum that is known a window, with the standard error of a ratio of sums: windows are the
// independent units, tokens inside one are not. `count` is that of the windows.
Estimate per_token(std::span<const double> window_sums, std::span<const std::int64_t> window_tokens);

// ln(perplexity of `model` / of `source`) on the same windows, with the standard error of their paired differences,
// which is far smaller than that of either perplexity.
Estimate log_perplexity_ratio(const PerplexityResult& model, const PerplexityResult& source);

// The ids of a whole text without special tokens; documents of a .jsonl file or a directory are tokenised one by one
// and joined with nothing between them.
struct EvaluationText {
  std::vector<TokenId> ids;
  std::int64_t bytes = 0;      // UTF-8 bytes that `ids` came from
  std::string source, digest;  // digest: SHA-256 of the ids, as TokenBatches has it
};
EvaluationText load_evaluation_text(const std::filesystem::path& path, const CorpusOptions& corpus,
                                    const Tokenizer& tokenizer);

// Windows begin every `stride` tokens; a remainder shorter than a window is left out. Each is read alone, and its first
// token is not scored. The softmax is summed in double. Errors: usage (window below 2, stride outside 1 … window, BOS
// asked for where there is none), resource when the text is shorter than one window, mismatch for ids outside the
// vocabulary, numeric when a window's likelihood is not finite.
// The windows are shared among the ranks of the model's placement; each of them gets the whole result.
// `observer` sees all that is scored on this rank, in the order of the text: the states that predict, [rows, hidden]
// after the last layer and before the final norm, and the token after each.
using ScoredRows = std::function<void(const torch::Tensor& hidden, const std::vector<std::int64_t>& targets)>;
PerplexityResult perplexity(const Model& model, const EvaluationText& text, const PerplexityOptions& options,
                            std::optional<TokenId> bos = {}, const ScoredRows& observer = {});
Json to_json(const PerplexityResult& result, const PerplexityOptions& options, const EvaluationText& text);

}  // namespace streamline
