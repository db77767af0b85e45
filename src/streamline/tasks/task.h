// SPDX-License-Identifier: Apache-2.0
// A benchmark as data: where its questions lie, how they are put, and how answers are scored.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace streamline {

// How a question is put and scored: answers behind a context, by their likelihood (lm-evaluation-harness), or every
// choice's whole text, by its mean negative log likelihood (OpenCompass, PPL mode).
enum class Style { lm_eval, opencompass };
std::string_view name(Style style);  // "lm-eval", "opencompass"
// Errors: usage, naming the two.
Style style_named(std::string_view name);

// choices: the best of several answers is right or wrong. greedy: one answer, right where every token of it is the
// model's first choice (LAMBADA).
enum class Rule { choices, greedy };

struct Task;  // its file is described in docs/evaluation.md

// What it asks, in a sentence, with its source.
std::string about(const Task& task);

// What a task file says. Errors: io, format (file and key named).
std::shared_ptr<const Task> read_task(const std::filesystem::path& file);

// Names of the shipped tasks and, when given, of those in `folder` (files NAME.yaml or NAME.json), which come first.
std::vector<std::string> task_names(const std::filesystem::path& folder = {});
// A task by name, or by the path of its file. Errors: usage, naming what is known.
std::shared_ptr<const Task> find_task(std::string_view name, const std::filesystem::path& folder = {});

// A task, or one set of a task that is split into several: "mmlu_anatomy" of mmlu.
struct TaskChoice {
  std::shared_ptr<const Task> task;
  std::string set = {};  // empty: all
};
// By the name of a task or of a set, TASK_VALUE; whether there is such a set, its data will say. Errors as find_task.
TaskChoice choose_task(std::string_view name, const std::filesystem::path& folder = {});

}  // namespace streamline
