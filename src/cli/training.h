// SPDX-License-Identifier: Apache-2.0
// What the commands that train share: text to train on and to hold out, a log of the steps, the saved state.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "command.h"
#include "options.h"
#include "streamline/base/json.h"
#include "streamline/heal/trainer.h"
#include "streamline/text/corpus.h"

namespace streamline::cli {

// About so many tokens to train on and so many sequences of other documents, drawn at random. Errors: those of
// load_split, and mismatch for ids outside the vocabulary. `when_short`: PackOptions::when_short.
SplitSequences load_training_text(
    const OpenedModel& opened, const DataOptions& data, std::int64_t tokens, std::int64_t validation_sequences,
    std::uint64_t seed,
    const std::string& when_short = "take fewer --tokens, and go over them several times with --epochs");

// Appends each record to a file, a JSON object a line; empty without a file. Errors: io.
std::function<void(const Json&)> json_lines(const std::string& path);

// A warning where no step of a training for the next token was better than the model as it was; else empty. `advice`:
// what to try.
std::string nothing_learnt(const HealResult& result, const std::string& advice);

// Where a search keeps its state in that directory.
std::filesystem::path search_state_file(const std::string& directory);

// Runs work that keeps a state, or what is finished, in a directory (empty: in none); where it is interrupted and
// something lies there, the error says so.
Output resumable(const std::string& directory, const std::function<Output()>& work);

// resumable() of what keeps its state in `directory` and removes it when it is done. Errors: usage where a model lies
// there, whose weights would go with it.
Output with_state(const std::string& directory, const std::function<Output()>& work);

// What a search, a training or sparsify saved in a directory, once its result is written, and the directory if nothing
// else is in it.
void remove_state(const std::string& directory);

}  // namespace streamline::cli
