// SPDX-License-Identifier: Apache-2.0
// What a task file says, as values; docs/evaluation.md describes the file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/tasks/rows.h"
#include "streamline/tasks/task.h"
#include "streamline/tasks/template.h"

namespace streamline {

// A named value: one template, or a list of them.
struct Field {
  std::string name;
  std::vector<Template> templates;
  bool list = false;
};

// Rows with the same `by` become one, whose field `as` lists what `fields` say of each.
struct Gather {
  std::string by, as;
  std::vector<Field> fields;
};

// Where questions lie in a folder and what in their rows is what.
struct Source {
  std::vector<std::string> files;                // relative to the folder; '*' in the last part stands for any text
  bool together = false;                         // all of the files; else the first that is there
  std::string labels, examples, example_labels;  // beside the files; empty: none
  std::optional<RowFormat> format;               // else by the file's name
  bool header = true;                            // csv, tsv
  std::map<std::string, std::string> skip;       // rows with this value of this field are not part of the task
  std::optional<Template> each;                  // a list; every element is a row of its own
  std::optional<Gather> gather;
  std::vector<Field> fields;
};

// How questions are put. Style::opencompass: the context is empty and the choice is the whole text.
struct Prompts {
  Style style = Style::lm_eval;
  Rule rule = Rule::choices;
  Template name, description, context, choice;  // name: what the harness calls the set
  std::vector<Template> choices;                // instead of the data's choices
  std::vector<std::size_t> order;               // of the data's choices; empty: as they are
  std::string delimiter, separator;             // before the choice, after an example
  std::vector<std::string> metrics, labels;
  std::int64_t shots = 0;
  bool first = true;  // examples: the first ones, else drawn
};

struct Task {
  std::string name, about;
  std::int64_t items = 0;                    // as published; 0: not said
  std::string split;                         // the field that splits the questions into sets; empty: one set
  std::map<std::string, std::string> names;  // of the sets, for prompts: the field that splits, with _name behind it
  std::vector<Source> sources;
  std::optional<Prompts> lm_eval, opencompass;
};

// Reads a task from the text of its file. Errors: format, naming `where` and the key.
Task parse_task(std::string_view text, const std::string& where);

// A task file that travels with the program.
struct ShippedTask {
  std::string_view name, text;
};
std::span<const ShippedTask> shipped_tasks();

}  // namespace streamline
