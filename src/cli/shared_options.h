// SPDX-License-Identifier: Apache-2.0
// Options that several commands share, and what of them needs no libtorch.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "arguments.h"
#include "streamline/io/checkpoint.h"
#include "streamline/text/corpus.h"

namespace streamline::cli {

struct CommonOptions {
  bool json = false, quiet = false, verbose = false;
  std::int64_t threads = 0;
  std::string device = "auto", dtype = "auto", memory = {};
  std::uint64_t seed = 0;
};
void add_output_options(Arguments& arguments, CommonOptions& options);   // --json, --quiet, --verbose
void add_machine_options(Arguments& arguments, CommonOptions& options);  // --threads, --device, --dtype, --seed
void add_compute_options(Arguments& arguments, CommonOptions& options);  // all of those
void add_memory_option(Arguments& arguments, CommonOptions& options);    // --memory
// Of commands that run text through a model: add_compute_options() and --memory.
void add_sweep_options(Arguments& arguments, CommonOptions& options);
// The heading of these in the --help of commands that have so many options that each stands under one.
constexpr const char* kMachine = "Machine and messages";
void start_logging(const CommonOptions& options);

// The positional MODEL: a path, or a name in the local Hugging Face cache.
void add_model(Arguments& arguments, std::string& model);
// Errors as find_model and streamline::open_checkpoint.
std::shared_ptr<const Checkpoint> open_checkpoint(const std::string& model);

// --max-shard-size. Errors, once the words are parsed: usage for what is no size, or less than 100 kB.
void add_shard_size(Arguments& arguments, std::string& size);

struct DataOptions {
  std::string path;
  CorpusOptions corpus;
  std::int64_t seq_len = 0;  // tokens of text; 0: 512, or what the model's positions hold beside BOS
  std::int64_t samples = 32;
  bool documents = false, shuffle = false, allow_long = false;
  std::string bos = "auto";
  bool shipped = false;  // the path is that of the text that comes with the program (shipped_text.h), not a given one
};
enum class DataNeed {
  choosing,  // by the shipped text where none is given
  optional,
  training,  // needed, and all sequences are drawn from it: there are no calibration sequences to describe
};
void add_data_options(Arguments& arguments, DataOptions& options, DataNeed need);

// The words of the command line, for records.
const std::vector<std::string>& command_line();
void remember_command_line(const std::vector<std::string>& words);

// Before hours of work: that the file can be written, and is not there yet unless it may be replaced. Empty: no file.
// Errors: io.
void check_output(const std::string& path, bool overwrite);
// The same of a directory, or of a GGUF file with its companions (docs/commands.md says what may be replaced). Empty:
// none is asked for. Errors: io.
void check_output_directory(const std::string& path, bool overwrite);

// To standard output, at once. Errors: io.
void print(const std::string& text);

}  // namespace streamline::cli
