// SPDX-License-Identifier: Apache-2.0
// The actions of `streamline chip`, and what they share.
#pragma once

#include "command.h"
#include "streamline/chip/chips_file.h"

namespace streamline::cli {

// Each adds its options and returns what runs once they are parsed.
std::function<Output()> declare_chip_cache(Arguments arguments);
std::function<Output()> declare_chip_train(Arguments arguments);
std::function<Output()> declare_chip_select(Arguments arguments);
std::function<Output()> declare_chip_eval(Arguments arguments);
std::function<Output()> declare_chip_export(Arguments arguments);
std::function<Output()> declare_chip_run(Arguments arguments);

struct ChoiceOptions {
  std::string rule = "best", kind;
  double within = 0.01;
  std::int64_t layer = -1;
};
void add_choice_options(Arguments& arguments, ChoiceOptions& options);
// Once the words are parsed: --layer alone means --rule fixed, --within alone --rule earliest. Whether any of them was
// given. Errors: usage for one that the rule does not look at, and for a fixed rule without --layer.
bool resolve_choice(const Arguments& arguments, ChoiceOptions& options);
chip::SelectOptions choice_options(const ChoiceOptions& options);

// "sst2: linear chip behind layer 17 (earliest within 0.02), accuracy 0.874 (0.788..0.928) on 87 validation texts;
// keeps 18 of 30 layers; the best, …": whether the best chip's accuracy lies within the chosen one's interval.
std::string choice_text(const chip::TaskChips& task, const chip::Trunk& trunk);
// Accuracies of one task's chips by layer, as a table, with those of the most frequent class.
std::string chips_table(const chip::TaskChips& task);
// Why the chosen chip may know nothing: it has not learnt its own texts, its interval reaches down to the most frequent
// class's accuracy, or few texts judged it. Empty when none is so.
std::string doubt_about(const chip::TaskChips& task);
// "'yes', the most frequent class"
std::string most_frequent_text(const chip::TaskChips& task);
Json chips_json(const chip::Chips& chips);

}  // namespace streamline::cli
