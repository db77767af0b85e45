// SPDX-License-Identifier: Apache-2.0
// Options that several commands share, and what is opened with them.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "arguments.h"
#include "streamline/engine/model.h"
#include "streamline/text/corpus.h"

namespace streamline::cli {

struct CommonOptions {
  bool json = false, quiet = false, verbose = false;
  std::int64_t threads = 0;
  std::string device = "auto", dtype = "auto";
  std::uint64_t seed = 0;
};
void add_output_options(Arguments& arguments, CommonOptions& options);   // --json, --quiet, --verbose
void add_compute_options(Arguments& arguments, CommonOptions& options);  // those, --threads, --device, --dtype, --seed
// Sets logging and threads; returns where to compute.
Placement start(const CommonOptions& options);
void start_logging(const CommonOptions& options);

// The positional MODEL: a path, or a name in the local Hugging Face cache.
void add_model(Arguments& arguments, std::string& model);
// Errors as find_model and streamline::open_checkpoint.
std::shared_ptr<const Checkpoint> open_checkpoint(const std::string& model);

constexpr const char* kFormatHelp =
    "how halves of layers that went are written: auto, ordinary (zeros in their place), decilm, per-layer";

struct DataOptions {
  std::string path;
  CorpusOptions corpus;
  std::int64_t seq_len = 0;  // 0: 512, or the model's positions if fewer
  std::int64_t samples = 32;
  bool documents = false, shuffle = false, allow_long = false;
  std::string bos = "auto";
};
enum class DataNeed { required, optional };
void add_data_options(Arguments& arguments, DataOptions& options, DataNeed need = DataNeed::required);

struct OpenedModel {
  Model model;
  std::unique_ptr<Tokenizer> tokenizer;
};
// Errors as Model::open and open_tokenizer; also mismatch when the tokenizer has more ids than the embedding rows.
OpenedModel open_model(const std::string& model, const Placement& placement);

// Checks seq_len against the model's positions (error mismatch unless allowed) and fills its default, which leaves
// room for BOS in front. The engine need not check again.
std::int64_t resolve_seq_len(const Config& config, std::int64_t given, bool allow_long, bool bos, const char* option);
// The same of a model and its text, with room for its BOS.
std::int64_t sequence_length(const OpenedModel& opened, const DataOptions& options);
// "auto": BOS where the tokenizer has the habit; "on" fails when it has none. Errors: usage.
bool resolve_bos(const std::string& given, const Tokenizer& tokenizer);

TokenBatches load_calibration(const OpenedModel& opened, const DataOptions& options, std::uint64_t seed);
// Runs work that reads the weights; where a number came out NaN or infinite, the tensor at fault is named if there is
// one.
void naming_bad_tensors(const Model& model, const std::function<void()>& work);
// Error resource when a sweep over such sequences needs more memory than the machine has.
void check_sweep_memory(const Model& model, std::int64_t seq_len);

// The words of the command line, for records.
const std::vector<std::string>& command_line();
// run_record() of it, with threads, device and dtype.
Json computing_record(const Placement& placement, std::uint64_t seed);
void remember_command_line(const std::vector<std::string>& words);

// Before hours of work: that the file can be written, and is not there yet unless it may be replaced. Empty: no file.
// Errors: io.
void check_output(const std::string& path, bool overwrite);
// That a directory is not there yet, or empty, unless it may be replaced. Empty: none is asked for. Errors: io.
void check_output_directory(const std::string& path, bool overwrite);

// To standard output, at once. Errors: io.
void print(const std::string& text);

}  // namespace streamline::cli
