// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/task_scoring.h"

#include <algorithm>

#include "streamline/base/error.h"

namespace streamline {
namespace {

using Sequence = LikelihoodRequest::Sequence;

constexpr std::int64_t kUsualTokens = 2048;  // where the model names no positions

struct Encoder {
  const Tokenizer& tokenizer;
  bool bos;

  std::vector<TokenId> encode(std::string_view text) const {
    std::vector<TokenId> ids = tokenizer.encode(text, false);
    if (bos && (ids.empty() || ids.front() != tokenizer.bos())) ids.insert(ids.begin(), *tokenizer.bos());
    return ids;
  }

  // What stands in front of a continuation without a context.
  TokenId beginning() const {
    const std::optional<TokenId> id = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
    if (!id) fail(ErrorKind::mismatch, "a question has no context, and the tokenizer has neither BOS nor EOS for it");
    return *id;
  }

  Sequence behind_context(std::string context, std::string continuation) const {
    const std::size_t end = context.find_last_not_of(" \t\n\r\f\v") + 1;  // 0 where there is none
    if (!context.empty()) {
      continuation.insert(0, context, end);
      context.resize(end);
    }
    if (context.empty()) {
      Sequence sequence{.tokens = tokenizer.encode(continuation, false), .scored_from = 1};
      const TokenId first = beginning();
      if (sequence.tokens.empty() || sequence.tokens.front() != first)
        sequence.tokens.insert(sequence.tokens.begin(), first);
      return sequence;
    }
    return {.tokens = encode(context + continuation), .scored_from = encode(context).size()};
  }
};

void check_scored(const Sequence& sequence, const TaskSet& set, const TaskItem& item) {
  if (sequence.scored_from >= 1 && sequence.scored_from < sequence.tokens.size()) return;
  fail(ErrorKind::mismatch, set.name, ", question ", item.id,
       ": an answer has no tokens of its own behind the question");
}

// Drops the beginning of what does not fit; of a whole text, what then stands first is not scored.
bool cut_to(Sequence& sequence, std::int64_t most, bool whole_text, const TaskSet& set, const TaskItem& item) {
  const std::int64_t excess = std::ssize(sequence.tokens) - most;
  if (excess <= 0) return false;
  const auto dropped = static_cast<std::size_t>(excess);
  if (!whole_text && dropped >= sequence.scored_from)
    fail(ErrorKind::mismatch, set.name, ", question ", item.id, ": an answer of ",
         sequence.tokens.size() - sequence.scored_from, " tokens does not fit into ", most);
  sequence.tokens.erase(sequence.tokens.begin(), sequence.tokens.begin() + excess);
  if (!whole_text) sequence.scored_from -= dropped;
  return true;
}

}  // namespace

TokenizedSet tokenize(const TaskSet& set, const Tokenizer& tokenizer, std::int64_t max_tokens, bool bos) {
  const Encoder encoder{.tokenizer = tokenizer, .bos = bos};
  const bool whole_text = set.style == Style::opencompass;
  TokenizedSet result;
  for (const TaskItem& item : set.items) {
    LikelihoodRequest request;
    bool cut = false;
    for (std::size_t i = 0; i < item.continuations.size(); ++i) {
      Sequence sequence = whole_text ? Sequence{.tokens = encoder.encode(item.contexts[i] + item.continuations[i])}
                                     : encoder.behind_context(item.contexts[i], item.continuations[i]);
      check_scored(sequence, set, item);
      // The last token is only predicted: lm-evaluation-harness reads as many as the model has positions before it.
      if (cut_to(sequence, whole_text ? max_tokens : max_tokens + 1, whole_text, set, item)) cut = true;
      request.sequences.push_back(std::move(sequence));
    }
    result.truncated += cut ? 1 : 0;
    result.requests.push_back(std::move(request));
  }
  return result;
}

std::int64_t most_tokens(const Model& model, const TaskScoringOptions& options) {
  if (options.max_tokens > 0) return options.max_tokens;
  return model.config().max_positions > 0 ? model.config().max_positions : kUsualTokens;
}

TaskAnswers answer(const Model& model, const Tokenizer& tokenizer, const TaskSet& set,
                   const TaskScoringOptions& options) {
  const TokenizedSet tokenized = tokenize(set, tokenizer, most_tokens(model, options), options.bos);
  const auto scored = likelihoods(model, tokenized.requests,
                                  {.batch_tokens = options.batch_tokens, .label = options.progress ? set.name : ""});
  TaskAnswers result = {.name = set.name,
                        .group = set.group,
                        .style = set.style,
                        .rule = set.rule,
                        .metrics = set.metrics,
                        .labels = set.labels,
                        .shots = set.shots,
                        .items_in_data = set.items_in_data,
                        .truncated = tokenized.truncated,
                        .source = set.source,
                        .digest = set.digest,
                        .answers = {}};
  for (std::size_t i = 0; i < set.items.size(); ++i) {
    const TaskItem& item = set.items[i];
    Answer found;
    found.id = item.id;
    found.gold = item.gold;
    found.characters = item.characters;
    for (std::size_t choice = 0; choice < scored[i].size(); ++choice) {
      const Sequence& sequence = tokenized.requests[i].sequences[choice];
      found.log_likelihoods.push_back(scored[i][choice].log_likelihood);
      found.greedy.push_back(scored[i][choice].greedy);
      const std::size_t counted =
          set.style == Style::opencompass ? sequence.tokens.size() : sequence.tokens.size() - sequence.scored_from;
      found.tokens.push_back(static_cast<std::int64_t>(counted));
    }
    result.answers.push_back(std::move(found));
  }
  return result;
}

}  // namespace streamline
