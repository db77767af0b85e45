// SPDX-License-Identifier: Apache-2.0
// Texts with the class that each belongs to: what a classifier is trained on.
#pragma once

#include <span>

#include "streamline/tasks/task_set.h"

namespace streamline {

struct LabelledTexts {
  std::string name;                      // the task's, else the first file's without its ending
  std::vector<std::string> classes;      // two or more, in the order that labels count them
  std::vector<std::string> texts;        // as a model reads them
  std::vector<std::int64_t> labels;      // one a text: an index into classes
  std::string prompt = {};               // the template that made the texts; empty: they are texts by themselves
  std::string source = {}, digest = {};  // the first data file; SHA-256 of all of them
};

// What stands in front of the answers of a benchmark's questions; the right one's position is the label. Classes have
// the answers' names where these are the same in every question, else "A", "B", … Errors: those of load_task();
// unsupported for a task whose answers stand behind different texts, or which has no answers to choose from.
LabelledTexts labelled_task(const TaskChoice& choice, const TaskData& data);

struct LabelledFileOptions {
  std::string text_field = "text", label_field = "label";
  std::string prompt = {};                // a template of the row's fields; empty: the text field as it is
  std::vector<std::string> classes = {};  // in this order; empty: those of the first file, numbers by their value
  std::int64_t limit = 0;                 // the first rows of each file; 0: all
};
// Rows of .jsonl, .json, .csv or .tsv files, also .gz and .zst. Errors: io; format when more than a tenth of the rows
// have no text or no label (file and line), or there is one class only; mismatch when a file has a label that the
// first one (or `classes`) has not, or lacks one.
LabelledTexts labelled_files(std::span<const std::filesystem::path> files, const LabelledFileOptions& options);

// A line that a user gives, as the text that a model reads. Through a template a JSON object gives its fields, and
// anything else the template's only field; without a template the line is the text. Errors: format, naming `where`.
std::string prompted(const std::string& line, const std::string& prompt, const std::string& where);

}  // namespace streamline
