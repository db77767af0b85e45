// SPDX-License-Identifier: Apache-2.0
// What several commands that compute open with the options that they share.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "shared_options.h"
#include "streamline/engine/model.h"
#include "streamline/eval/perplexity.h"

namespace streamline::cli {

// Sets logging and threads; returns where to compute.
Placement start(const CommonOptions& options);

constexpr const char* kFormatHelp =
    "how halves of layers that went are written: auto, ordinary (zeros in their place), decilm, per-layer";

// A model that was cut behind its chips, or a …ForSequenceClassification checkpoint, has no head that writes text.
// Errors: unsupported for one, naming `instead`: what is to be done with one that has its chips.
void check_writes_text(const Checkpoint& checkpoint, const char* instead = "`streamline chip run` classifies with it");
enum class Head { language, any };

struct OpenedModel {
  Model model;
  std::unique_ptr<Tokenizer> tokenizer;
};
// That a tokenizer may be the model's: a warning where it has tokens for less than half of the embedding's rows.
// Errors: mismatch where text would have ids without a row.
void check_tokenizer(const Tokenizer& tokenizer, const Config& config, const std::string& model);
// Errors as Model::open, open_tokenizer and check_tokenizer(); also those of check_writes_text() unless any head will
// do.
OpenedModel open_model(const std::string& model, const Placement& placement, Head head = Head::language);

// Checks tokens of text against the model's positions, one of which is BOS's where it stands in front, and fills their
// default: 512, or what the positions hold. The engine need not check again. Errors: mismatch where they are too many,
// unless they may be.
enum class Longer { refused, on_request, allowed };  // on_request: refused, and --allow-long allows it
std::int64_t resolve_seq_len(const Config& config, std::int64_t given, Longer longer, bool bos, const char* option);
Longer longer_if(bool allow_long);
// The same of a model and its text, with room for its BOS.
std::int64_t sequence_length(const OpenedModel& opened, const DataOptions& options);
// Before hours of work: that there is a window of text to measure on. `option` makes it smaller. Errors: resource.
void check_long_enough(const EvaluationText& text, std::int64_t window, const char* option);
// "auto": BOS where the tokenizer has the habit; "on" fails when it has none. Errors: usage.
bool resolve_bos(const std::string& given, const Tokenizer& tokenizer);

TokenBatches load_calibration(const OpenedModel& opened, const DataOptions& options, std::uint64_t seed);
// A text that was read, for reports: "source", "sequences", "seq_len" where all are of one length, "tokens",
// "documents", "digest". Tokens are those of the text: BOS in front of sequences is none of them.
Json text_record(const TokenBatches& text);
// Runs work that reads the weights; where a number came out NaN or infinite, the tensor at fault is named if there is
// one.
void naming_bad_tensors(const Model& model, const std::function<void()>& work);

// run_record() of the command line, with threads, device and dtype.
Json computing_record(const Placement& placement, std::uint64_t seed);

}  // namespace streamline::cli
