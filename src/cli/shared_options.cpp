// SPDX-License-Identifier: Apache-2.0
#include "shared_options.h"

#include <cstdio>

#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/base/unfinished.h"
#include "streamline/io/checkpoint_writer.h"
#include "streamline/io/hub.h"

namespace streamline::cli {
namespace {

std::vector<std::string>& words() {
  static std::vector<std::string> remembered;
  return remembered;
}

}  // namespace

void add_output_options(Arguments& arguments, CommonOptions& options) {
  arguments.flag("--json", options.json, "print the result as JSON on standard output");
  arguments.flag("-q,--quiet", options.quiet, "only warnings and errors on standard error");
  arguments.flag("-v,--verbose", options.verbose, "say more");
}

void add_machine_options(Arguments& arguments, CommonOptions& options) {
  arguments.add("--threads", options.threads,
                "threads; 0: one a physical core that may be used, shared among the ranks of a machine",
                {.shows_default = false, .limits = Limits{0, 4096}});
  arguments.add("--device", options.device, "auto, cpu, cuda or cuda:N");
  arguments.add("--dtype", options.dtype, "compute in float32, bfloat16 or float16; auto: bfloat16 where it is fast");
  arguments.add("--seed", options.seed, "seed of everything random");
}

void add_compute_options(Arguments& arguments, CommonOptions& options) {
  add_output_options(arguments, options);
  add_machine_options(arguments, options);
}

void add_memory_option(Arguments& arguments, CommonOptions& options) {
  arguments.add("--memory", options.memory,
                "most memory that the process holds beside mapped files, e.g. 8GB; default: what is available");
}

void add_sweep_options(Arguments& arguments, CommonOptions& options) {
  add_compute_options(arguments, options);
  add_memory_option(arguments, options);
}

void start_logging(const CommonOptions& options) {
  set_log_level(options.quiet ? LogLevel::quiet : options.verbose ? LogLevel::verbose : LogLevel::normal);
}

void add_model(Arguments& arguments, std::string& model) {
  arguments.add("MODEL", model,
                "a checkpoint: a Hugging Face directory with config.json and safetensors, a GGUF file, or "
                "org/name[@revision] from the local Hugging Face cache",
                {.required = true});
}

std::shared_ptr<const Checkpoint> open_checkpoint(const std::string& model) {
  return streamline::open_checkpoint(find_model(model));
}

void add_shard_size(Arguments& arguments, std::string& size) {
  constexpr std::uint64_t kLeast = 100'000;  // of more files than that nobody has use
  const auto take = [&size](const std::string& word) {
    if (parse_size(word) < kLeast) fail(ErrorKind::usage, "--max-shard-size takes 100KB or more; got '", word, "'");
    size = word;
  };
  arguments.add("--max-shard-size", take, "largest weight file, e.g. 5GB", "TEXT=" + size);
}

void add_data_options(Arguments& arguments, DataOptions& options, DataNeed need) {
  const char* without = need == DataNeed::choosing   ? "; default, to choose by: the books that come with the program"
                        : need == DataNeed::training ? "; needed, and best like what the model is used for"
                                                     : "";
  arguments.add("--data", options.path,
                std::string("text: .txt, .jsonl, also .gz and .zst, or a directory of these") + without);
  arguments.add("--text-field", options.corpus.text_field, "field of a .jsonl line that holds the text");
  arguments.add("--seq-len", options.seq_len,
                "tokens of text a sequence; default: 512, or what the model's positions hold beside BOS",
                {.limits = kPositive});
  if (need != DataNeed::training) {
    arguments.add("--samples", options.samples, "calibration sequences", {.limits = kPositive});
    arguments.flag("--documents", options.documents,
                   "one document a sequence instead of packing them one after the other");
    arguments.flag("--shuffle", options.shuffle,
                   "draw the calibration sequences at random (--seed) instead of the first ones");
  }
  arguments.add("--bos", options.bos,
                "BOS in front of each sequence: auto (where the tokenizer has the habit), on, off",
                {.choices = {"auto", "on", "off"}});
  arguments.flag("--allow-long", options.allow_long, "allow sequences longer than the model's positions");
}

const std::vector<std::string>& command_line() { return words(); }

void remember_command_line(const std::vector<std::string>& given) { words() = given; }

void check_output_directory(const std::string& path, bool overwrite) {
  if (path.empty()) return;
  const std::filesystem::path whole = whole_path(path);
  const TargetKind kind = whole.extension() == ".gguf" ? TargetKind::file : TargetKind::directory;
  static_cast<void>(OutputDirectory(whole, overwrite ? Overwrite::yes : Overwrite::no, kind));  // removed again
}

void check_output(const std::string& path, bool overwrite) {
  if (path.empty()) return;
  std::error_code error;
  if (!overwrite && std::filesystem::is_regular_file(path, error))
    fail(ErrorKind::io, path, ": already exists; choose another name, or pass --overwrite");
  static_cast<void>(OutputFile(path));  // removed again
}

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  if (std::fflush(stdout) != 0) fail(ErrorKind::io, "standard output: cannot write");
}

}  // namespace streamline::cli
