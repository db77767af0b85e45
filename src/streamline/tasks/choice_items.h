// SPDX-License-Identifier: Apache-2.0
// Answers as what stability looks at: scores of choices, the lowest of which wins.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "streamline/tasks/answers.h"
#include "streamline/tasks/stability.h"

namespace streamline {

// The words a user says: "opencompass-nll", "mean-nll", "perplexity", "answer-nll".
std::vector<std::string> choice_score_words();
// Errors: usage, naming them.
ChoiceScore choice_score_named(std::string_view word);
// opencompass_nll for whole texts, answer_nll for answers behind a context.
ChoiceScore default_score(Style style);
// What it is of such answers, for people: "mean NLL of the whole text, …". Under Style::lm_eval only the answer's
// tokens are scored, all of them, so that mean_nll and perplexity are the answer's.
std::string title(ChoiceScore score, Style style);

// A question with one right answer and no wrong one (Rule::greedy) counts as two choices, right and wrong, of the same
// spread everywhere, so that its set's stability is plain agreement. Errors: unsupported for a score that such answers
// do not have, mismatch where it needs numbers of tokens that the answers do not say.
std::vector<ChoiceItem> choice_items(const TaskAnswers& set, ChoiceScore score);

}  // namespace streamline
