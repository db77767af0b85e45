// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/choice_items.h"

#include <array>

#include "streamline/base/error.h"

namespace streamline {
namespace {

// whole: of the rendered text (Style::opencompass); answer: of the answer alone (Style::lm_eval). Empty: there is none.
struct ScoreWord {
  ChoiceScore score;
  std::string_view word, whole, answer;
};
constexpr std::array<ScoreWord, 4> kScores{{
    {ChoiceScore::opencompass_nll, "opencompass-nll", "mean NLL of the whole text, OpenCompass's denominator", {}},
    {ChoiceScore::mean_nll, "mean-nll", "mean NLL of the whole text", "mean NLL of the answer"},
    {ChoiceScore::perplexity, "perplexity", "perplexity of the whole text", "perplexity of the answer"},
    {ChoiceScore::answer_nll, "answer-nll", {}, "NLL of the answer, summed"},
}};

const ScoreWord& entry(ChoiceScore score) {
  for (const ScoreWord& known : kScores)
    if (known.score == score) return known;
  fail(ErrorKind::internal, "unknown score of a choice");
}

double score_of(const TaskAnswers& set, const Answer& answer, std::size_t choice, ChoiceScore score) {
  const double nll = -answer.log_likelihoods[choice];
  if (score == ChoiceScore::answer_nll) return nll;
  if (answer.tokens.empty()) {
    if (score == ChoiceScore::opencompass_nll) return nll;
    fail(ErrorKind::mismatch, set.name, ": the score ", entry(score).word,
         " needs the number of tokens of each choice, which these results do not say; choose ",
         entry(default_score(set.style)).word);
  }
  // The first token of a whole text is not predicted; of an answer, every token is.
  const std::int64_t first = set.style == Style::opencompass ? 0 : 1, tokens = answer.tokens[choice] + first;
  if (tokens < 2)
    fail(ErrorKind::mismatch, set.name, ": a choice of question '", answer.id, "' has no token that was predicted");
  return choice_score(score, nll, tokens);
}

}  // namespace

std::vector<std::string> choice_score_words() {
  std::vector<std::string> words;
  words.reserve(kScores.size());
  for (const ScoreWord& known : kScores) words.emplace_back(known.word);
  return words;
}

ChoiceScore choice_score_named(std::string_view word) {
  for (const ScoreWord& known : kScores)
    if (known.word == word) return known.score;
  fail(ErrorKind::usage, "'", word, "' is no score; expected opencompass-nll, mean-nll, perplexity or answer-nll");
}

ChoiceScore default_score(Style style) {
  return style == Style::opencompass ? ChoiceScore::opencompass_nll : ChoiceScore::answer_nll;
}

std::string title(ChoiceScore score, Style style) {
  const ScoreWord& known = entry(score);
  const std::string_view title = style == Style::opencompass ? known.whole : known.answer;
  if (title.empty())
    fail(ErrorKind::unsupported, "the score ", known.word, " is not one of ",
         style == Style::opencompass ? "whole texts (opencompass)" : "answers behind a context (lm-eval)", "; choose ",
         entry(default_score(style)).word);
  return std::string(title);
}

std::vector<ChoiceItem> choice_items(const TaskAnswers& set, ChoiceScore score) {
  std::vector<ChoiceItem> items;
  items.reserve(set.answers.size());
  for (const Answer& answer : set.answers) {
    ChoiceItem& item = items.emplace_back();
    if (set.rule == Rule::greedy) {
      item.scores = is_right(set, answer) ? std::vector<double>{0, 1} : std::vector<double>{1, 0};
      continue;
    }
    static_cast<void>(title(score, set.style));
    item.gold = answer.gold;
    // Behind a context the answer is acc's, whatever the weights are taken from.
    if (set.style == Style::lm_eval) item.answered = most_likely(answer);
    for (std::size_t choice = 0; choice < answer.log_likelihoods.size(); ++choice)
      item.scores.push_back(score_of(set, answer, choice, score));
  }
  return items;
}

}  // namespace streamline
