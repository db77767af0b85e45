// SPDX-License-Identifier: Apache-2.0
// Perplexity as the field's strided evaluation has it: fixed windows, each read alone.
#include "streamline/eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/engine/sweep.h"
#include "streamline/eval/token_loss.h"

namespace streamline {
namespace {

// One window of the text: ids start … start+window-1, of which those from offset `first_scored` on are scored.
struct TextWindow {
  std::int64_t start = 0, first_scored = 1;
};

std::int64_t stride_of(const PerplexityOptions& options) {
  return options.stride == 0 ? options.window : options.stride;
}

void check_options(const PerplexityOptions& options, const std::optional<TokenId>& bos) {
  if (options.window < 2) fail(ErrorKind::usage, "a window of ", options.window, " tokens scores nothing; at least 2");
  if (options.stride < 0 || options.stride > options.window) {
    fail(ErrorKind::usage, "a stride of ", options.stride, " tokens: between 1 and the window of ", options.window);
  }
  if (options.bos && !bos) fail(ErrorKind::usage, "BOS was asked for, but this tokenizer has none; use --bos off");
}

std::vector<TextWindow> cut_windows(const EvaluationText& text, const PerplexityOptions& options) {
  const auto tokens = static_cast<std::int64_t>(text.ids.size());
  if (tokens < options.window) {
    fail(ErrorKind::resource, text.source, ": ", tokens, " tokens; one window needs ", options.window);
  }
  const std::int64_t overlap = options.window - stride_of(options);
  std::vector<TextWindow> windows;
  for (std::int64_t start = 0; start + options.window <= tokens; start += stride_of(options)) {
    if (options.max_windows > 0 && std::ssize(windows) == options.max_windows) break;
    windows.push_back({start, start == 0 ? 1 : std::max<std::int64_t>(1, overlap)});
  }
  return windows;
}

TokenBatches to_batches(const EvaluationText& text, const std::vector<TextWindow>& windows,
                        const PerplexityOptions& options, const std::optional<TokenId>& bos) {
  TokenBatches batches;
  batches.source = text.source;
  batches.skip_first = options.bos ? 1 : 0;
  for (const TextWindow& window : windows) {
    std::vector<TokenId> ids;
    if (options.bos) ids.push_back(*bos);
    const auto first = text.ids.begin() + window.start;
    ids.insert(ids.end(), first, first + options.window);
    batches.sequences.push_back(std::move(ids));
  }
  return batches;
}

// Sums each window's losses from h_L of its batch, [batch, seq, hidden].
class WindowScorer {
 public:
  WindowScorer(const Model& model, const std::vector<TextWindow>& windows, const ScoredRows& observer)
      : model_(model), windows_(windows), observer_(observer) {
    nll.assign(windows.size(), 0.0);
  }

  void score(const SweepBatch& batch, const torch::Tensor& last) {
    std::vector<torch::Tensor> rows;
    std::vector<std::int64_t> targets;
    std::vector<std::size_t> owners;  // the window of each row
    const torch::Tensor ids = batch.ids.to(torch::kCPU).contiguous();
    const std::int64_t seq = ids.size(1);
    for (std::int64_t row = 0; row < ids.size(0); ++row) {
      const auto window = static_cast<std::size_t>(batch.sequences[static_cast<std::size_t>(row)]);
      const std::int64_t first = batch.skip_first + windows_[window].first_scored;
      rows.push_back(last[row].slice(0, first - 1, seq - 1));  // the state at t - 1 predicts token t
      const std::int64_t* of_row = ids.const_data_ptr<std::int64_t>() + row * seq;
      targets.insert(targets.end(), of_row + first, of_row + seq);
      owners.insert(owners.end(), static_cast<std::size_t>(seq - first), window);
    }
    const torch::Tensor hidden = torch::cat(rows);
    const std::vector<double> losses = token_losses(model_, hidden, targets);
    for (std::size_t k = 0; k < losses.size(); ++k) nll[owners[k]] += losses[k];
    for (const std::int64_t window : batch.sequences) {
      if (!std::isfinite(nll[static_cast<std::size_t>(window)])) {
        fail(ErrorKind::numeric, "window ", window,
             " of the text: the logits are NaN or infinite; try --dtype float32");
      }
    }
    if (observer_) observer_(hidden, targets);
  }

  std::vector<double> nll;

 private:
  const Model& model_;
  const std::vector<TextWindow>& windows_;
  const ScoredRows& observer_;
};

}  // namespace

Estimate per_token(std::span<const double> window_sums, std::span<const std::int64_t> window_tokens) {
  SL_ASSERT(window_sums.size() == window_tokens.size());
  Estimate result{.count = std::ssize(window_sums)};
  const double tokens = std::accumulate(window_tokens.begin(), window_tokens.end(), 0.0);
  const auto windows = static_cast<double>(result.count);
  result.value = std::accumulate(window_sums.begin(), window_sums.end(), 0.0) / tokens;
  if (window_sums.size() < 2) return result;
  double squares = 0;
  for (std::size_t k = 0; k < window_sums.size(); ++k) {
    const double residual = window_sums[k] - result.value * static_cast<double>(window_tokens[k]);
    squares += residual * residual;
  }
  result.standard_error = std::sqrt(squares * windows / (windows - 1)) / tokens;
  return result;
}

Estimate log_perplexity_ratio(const PerplexityResult& model, const PerplexityResult& source) {
  SL_ASSERT(model.window_tokens == source.window_tokens);
  std::vector<double> differences;
  for (std::size_t k = 0; k < model.window_nll.size(); ++k)
    differences.push_back(model.window_nll[k] - source.window_nll[k]);
  return per_token(differences, model.window_tokens);
}

EvaluationText load_evaluation_text(const std::filesystem::path& path, const CorpusOptions& corpus,
                                    const Tokenizer& tokenizer) {
  EvaluationText text;
  text.source = path.string();
  read_corpus(path, corpus, [&](Document&& document) {
    const std::vector<TokenId> ids = tokenizer.encode(document.text, false);
    text.ids.insert(text.ids.end(), ids.begin(), ids.end());
    text.bytes += std::ssize(document.text);
    return true;
  });
  text.digest = sha256(std::as_bytes(std::span(text.ids)));
  return text;
}

PerplexityResult perplexity(const Model& model, const EvaluationText& text, const PerplexityOptions& options,
                            std::optional<TokenId> bos, const ScoredRows& observer) {
  check_options(options, bos);
  const std::vector<TextWindow> windows = cut_windows(text, options);
  const TokenBatches batches = to_batches(text, windows, options, bos);
  check_token_range(batches, model.config().vocab);
  WindowScorer scorer(model, windows, observer);
  sweep(model, batches,
        {.batch_tokens = options.batch_tokens,
         .label = options.progress ? "perplexity" : "",
         .beyond_positions = options.beyond_positions,
         .shared = true},
        {.end = [&](const SweepBatch& batch, const torch::Tensor& last) { scorer.score(batch, last); }});

  model.placement().ranks.sum(scorer.nll);  // each window is of one rank, and 0 elsewhere

  PerplexityResult result;
  result.window_nll = std::move(scorer.nll);
  for (const TextWindow& window : windows) result.window_tokens.push_back(options.window - window.first_scored);
  const Estimate nll = per_token(result.window_nll, result.window_tokens);
  result.mean_nll = nll.value;
  result.tokens = std::accumulate(result.window_tokens.begin(), result.window_tokens.end(), std::int64_t{0});
  result.windows = nll.count;
  result.value = std::exp(nll.value);
  if (nll.standard_error) result.standard_error = result.value * *nll.standard_error;  // d exp(m) = exp(m) dm
  // The text's own bytes a token stand for those of the part that was scored.
  const double bytes = static_cast<double>(text.bytes) / static_cast<double>(text.ids.size());
  const double bits = result.mean_nll / std::log(2.0);
  result.bits_per_byte = bytes > 0 ? bits / bytes : 0;
  return result;
}

double mean_of_windows(const PerplexityResult& result) {
  double sum = 0;
  for (std::size_t i = 0; i < result.window_nll.size(); ++i)
    sum += std::exp(result.window_nll[i] / static_cast<double>(result.window_tokens[i]));
  return sum / static_cast<double>(result.window_nll.size());
}

Json to_json(const PerplexityResult& result, const PerplexityOptions& options, const EvaluationText& text) {
  return {
      {"value", result.value},
      {"standard_error", result.standard_error ? Json(*result.standard_error) : Json()},
      {"tokens", result.tokens},
      {"windows", result.windows},
      {"window", options.window},
      {"stride", stride_of(options)},
      {"bos", options.bos},
      {"mean_nll", result.mean_nll},
      {"mean_of_windows", mean_of_windows(result)},
      {"bits_per_byte", result.bits_per_byte},
      {"text", {{"source", text.source}, {"digest", text.digest}, {"tokens", text.ids.size()}, {"bytes", text.bytes}}},
      {"window_nll", result.window_nll}};
}

}  // namespace streamline
