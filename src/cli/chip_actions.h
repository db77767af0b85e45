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
chip::SelectOptions choice_options(const ChoiceOptions& options);

// "sst2: linear chip behind layer 17 (best): validation 0.874 (0.788..0.928), 18 of 30 layers"
std::string choice_text(const chip::TaskChips& task, const chip::Trunk& trunk);
// Accuracies of one task's chips by layer, as a table.
std::string chips_table(const chip::TaskChips& task);
Json chips_json(const chip::Chips& chips);

}  // namespace streamline::cli
