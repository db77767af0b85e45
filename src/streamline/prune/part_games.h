// SPDX-License-Identifier: Apache-2.0
// The games whose players are the parts of a model: what it loses on a text, and which questions it gets wrong.
#pragma once

#include "streamline/prune/leave_one_out.h"
#include "streamline/prune/method.h"
#include "streamline/prune/shapley.h"
#include "streamline/prune/unit_choice.h"

namespace streamline {

// An item is a sequence of the text. What a walk has not left out before a unit is not computed again when that unit
// goes: of N parts it executes N + N(N-1)/4 in the mean, half of what separate evaluations would. The game refers to
// the model and the counter, which counts this rank's work. Errors when played: numeric for a cost that is none.
UnitGame text_game(const Model& model, const UnitStack& stack, TextMeasure measure, const TokenBatches& text,
                   PartCounter& counter);

// An item is a group of a few questions, its cost the share that is answered wrongly. Every coalition is a view of the
// model, which reads the questions anew, and which one rank asks alone.
UnitGame question_game(const Model& model, const UnitStack& stack, const Questionnaire& questions);

}  // namespace streamline
