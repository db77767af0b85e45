// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/render.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/tasks/characters.h"

namespace streamline {
namespace {

// The choices in the order in which they are asked, and which of them is right.
struct Choices {
  std::vector<std::string> texts;
  std::size_t gold = 0;
};

Choices choices_of(const Prompts& prompts, const Json& fields) {
  Choices result;
  const auto& from_data = fields.at("choices");
  const auto gold = fields.at("label").get<std::size_t>();
  result.gold = gold;
  if (!prompts.order.empty()) {
    const auto found = std::find(prompts.order.begin(), prompts.order.end(), gold);
    if (prompts.order.size() != from_data.size())
      fail(ErrorKind::format, "has ", from_data.size(), " choices; 'order' names ", prompts.order.size());
    result.gold = static_cast<std::size_t>(found - prompts.order.begin());
  }
  if (!prompts.choices.empty()) {
    for (const Template& choice : prompts.choices) result.texts.push_back(choice.text(fields));
  } else {
    for (std::size_t i = 0; i < from_data.size(); ++i)
      result.texts.push_back(from_data[prompts.order.empty() ? i : prompts.order[i]].get<std::string>());
  }
  if (result.gold >= result.texts.size())
    fail(ErrorKind::format, "the right choice is number ", result.gold, " of ", result.texts.size());
  return result;
}

std::string letter(std::size_t i) { return std::string(1, static_cast<char>('A' + std::min<std::size_t>(i, 25))); }

// Sets what templates know of choice i.
void set_choice(Json& fields, const Choices& choices, std::size_t i) {
  fields["choice"] = choices.texts[i];
  fields["letter"] = letter(i);
  fields["number"] = i;
}

struct Parts {
  std::string context, choice;
};

Parts parts(const Prompts& prompts, const Json& fields) {
  return {prompts.context.text(fields), prompts.choice.text(fields)};
}

std::string as_example(const Prompts& prompts, const Question& question) {
  Json fields = question.fields;
  const Choices choices = choices_of(prompts, fields);
  set_choice(fields, choices, choices.gold);
  const Parts text = parts(prompts, fields);
  return text.context + prompts.delimiter + text.choice + prompts.separator;
}

}  // namespace

TaskItem render(const Prompts& prompts, const Question& question, std::span<const Question* const> examples) {
  Json fields = question.fields;
  const Choices choices = choices_of(prompts, fields);
  std::string before = prompts.description.text(fields);
  for (const Question* example : examples) before += as_example(prompts, *example);
  TaskItem item;
  item.gold = choices.gold;
  for (std::size_t i = 0; i < choices.texts.size(); ++i) {
    set_choice(fields, choices, i);
    Parts text = parts(prompts, fields);
    const bool whole = prompts.style == Style::opencompass;
    item.characters.push_back(character_count(text.choice));
    item.contexts.push_back(whole ? std::string() : before + text.context);
    item.continuations.push_back((whole ? before : prompts.delimiter) + text.choice);
    if (item.continuations.back().empty()) fail(ErrorKind::format, "choice ", i, " is empty");
  }
  return item;
}

}  // namespace streamline
