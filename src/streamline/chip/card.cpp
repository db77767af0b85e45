// SPDX-License-Identifier: Apache-2.0
#include "streamline/chip/card.h"

#include <sstream>

namespace streamline::chip {
namespace {

// How a text must be handed over by whoever is not `streamline chip run`.
std::string reading_of(const TaskChips& task, const Exported& exported) {
  const Input& input = task.input;
  std::ostringstream text;
  text << "## What a text of " << task.task << " looks like\n\n";
  if (input.prompt.empty())
    text << "Texts are read as they are";
  else
    text
        << "The classifier was trained on texts that this template makes (`streamline chip run` applies it; everything "
           "else must be given its result, or the answers are others):\n\n```\n"
        << Json(input.prompt).dump(-1, ' ', false, Json::error_handler_t::replace)
        << "\n```\n\nIt is a JSON string: `\\n` is a line break, and `{{name}}` the text's field of that name. Texts "
           "are read";
  text << (input.bos ? ", with BOS in front" : ", without BOS or any other special token") << ", up to "
       << input.max_tokens << " tokens; of longer ones the beginning is left out.\n\n";
  if (exported.why_plain.empty())
    text << "```python\nfrom transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n"
            "tokens = AutoTokenizer.from_pretrained(DIRECTORY)(text, return_tensors=\"pt\", add_special_tokens="
         << (input.bos ? "True" : "False")
         << ")\nlogits = AutoModelForSequenceClassification.from_pretrained(DIRECTORY)(**tokens).logits\n```\n\n";
  return text.str();
}

}  // namespace

std::string chip_card(const Chips& chips, const Exported& exported, const Json& run) {
  std::ostringstream text;
  text << "`" << chips.trunk.model << "` cut behind layer " << exported.layers - 1 << " of " << chips.trunk.layers
       << ", with a classifier on the hidden state there (Chip-Tuning, arXiv 2410.06541). It writes no text.\n\n";
  for (const TaskChips& task : chips.tasks) {
    const TrainedChip& chosen = task.chips[task.choice->chip];
    text << "- " << task.task << ": " << name(task.choice->kind) << " chip behind layer " << task.choice->layer << ", "
         << task.classes.size() << " classes, accuracy " << chosen.validation.accuracy() << " on "
         << chosen.validation.count << " validation texts";
    if (chosen.test.count > 0) text << ", " << chosen.test.accuracy() << " on " << chosen.test.count << " test texts";
    if (const auto& most = task.most_frequent) {
      text << " (always `" << task.classes[static_cast<std::size_t>(most->label)]
           << "`: " << most->validation.accuracy();
      if (chosen.test.count > 0) text << " and " << most->test.accuracy();
      text << ")";
    }
    text << "\n";
  }
  text << "\n`streamline chip run` classifies with it. "
       << (exported.why_plain.empty() ? "transformers loads it as " + exported.architecture + "."
                                      : "It is no …ForSequenceClassification: " + exported.why_plain + ".")
       << "\n\n";
  for (const TaskChips& task : chips.tasks) text << reading_of(task, exported);
  text << "## Recipe\n\n```\n";
  for (const Json& word : run.value("command", Json::array())) text << word.get<std::string>() << ' ';
  text << "\n```\n";
  return text.str();
}

}  // namespace streamline::chip
