// SPDX-License-Identifier: Apache-2.0
// Chips in a file: those of one or several tasks on one trunk, how good they are, and which one was chosen.
#pragma once

#include <filesystem>
#include <optional>

#include "streamline/chip/select.h"
#include "streamline/chip/train.h"

namespace streamline::chip {

struct TaskChips {
  std::string task;
  std::vector<std::string> classes;
  Input input;
  std::vector<TrainedChip> chips;  // linear ones by layer, then MLPs by layer
  Json training = Json::object();  // the options that they were trained with
  std::optional<Choice> choice = {};
  std::optional<MostFrequent> most_frequent = {};  // not in files of earlier versions
};

struct Chips {
  Trunk trunk;
  std::vector<TaskChips> tasks;
};

// Safetensors: tensors "TASK.LAYER.KIND.weight" …, TASK being the task's index, the rest as JSON in the metadata
// (docs/methods/chip-tuning.md). Written as a whole or not at all. Errors: io.
void write_chips(const Chips& chips, const std::filesystem::path& path);
// Errors: io, format.
Chips read_chips(const std::filesystem::path& path);

// Errors: usage, naming those there are; an empty name is the only task's.
const TaskChips& task_named(const Chips& chips, const std::string& name);

// The chips of one task: choice, classes, accuracies by layer. What --json prints and the report shows.
Json to_json(const TaskChips& task);

}  // namespace streamline::chip
