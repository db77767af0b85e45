// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <algorithm>
#include <cstdio>

#include "rank_group.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/base/resources.h"
#include "streamline/engine/sweep.h"
#include "streamline/heal/sherl.h"
#include "streamline/io/hub.h"
#include "streamline/report/report.h"

namespace streamline::cli {
namespace {

constexpr std::int64_t kDefaultSeqLen = 512;

std::vector<std::string>& words() {
  static std::vector<std::string> remembered;
  return remembered;
}

// Ranks of one machine have a CUDA device each.
std::string device_of_rank(const std::string& asked) {
  if (ranks().alone() || (asked != "cuda" && (asked != "auto" || !torch::cuda::is_available()))) return asked;
  return "cuda:" + std::to_string(ranks().local_rank());
}

}  // namespace

void add_output_options(Arguments& arguments, CommonOptions& options) {
  arguments.flag("--json", options.json, "print the result as JSON on standard output");
  arguments.flag("-q,--quiet", options.quiet, "only warnings and errors on standard error");
  arguments.flag("-v,--verbose", options.verbose, "say more");
}

void add_compute_options(Arguments& arguments, CommonOptions& options) {
  add_output_options(arguments, options);
  arguments.add("--threads", options.threads, "threads; 0: one a physical core, shared among the ranks of a machine",
                {.shows_default = false, .limits = Limits{0, 4096}});
  arguments.add("--device", options.device, "auto, cpu, cuda or cuda:N");
  arguments.add("--dtype", options.dtype, "compute in float32, bfloat16 or float16; auto: bfloat16 where it is fast");
  arguments.add("--seed", options.seed, "seed of everything random");
}

void start_logging(const CommonOptions& options) {
  if (!ranks().first()) return;  // the others are silent
  set_log_level(options.quiet ? LogLevel::quiet : options.verbose ? LogLevel::verbose : LogLevel::normal);
}

Placement start(const CommonOptions& options) {
  start_logging(options);
  set_threads(static_cast<int>(options.threads), ranks().local_size());
  Placement placement = resolve_placement(device_of_rank(options.device), options.dtype);
  placement.ranks = ranks();
  log_detail("computing on " + describe(placement));
  return placement;
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

void add_data_options(Arguments& arguments, DataOptions& options, DataNeed need) {
  arguments.add("--data", options.path, "text: .txt, .jsonl, also .gz and .zst, or a directory of these",
                {.required = need == DataNeed::required});
  arguments.add("--text-field", options.corpus.text_field, "field of a .jsonl line that holds the text");
  arguments.add("--seq-len", options.seq_len, "tokens a sequence; default 512, or the model's positions if fewer",
                {.limits = kPositive});
  arguments.add("--samples", options.samples, "calibration sequences", {.limits = kPositive});
  arguments.flag("--documents", options.documents,
                 "one document a sequence instead of packing them one after the other");
  arguments.flag("--shuffle", options.shuffle,
                 "draw the calibration sequences at random (--seed) instead of the first ones");
  arguments.add("--bos", options.bos,
                "BOS in front of each sequence: auto (where the tokenizer has the habit), on, off",
                {.choices = {"auto", "on", "off"}});
  arguments.flag("--allow-long", options.allow_long, "allow sequences longer than the model's positions");
}

OpenedModel open_model(const std::string& model, const Placement& placement) {
  auto checkpoint = open_checkpoint(model);
  return {with_side_route(Model::open(checkpoint, placement)), open_tokenizer(checkpoint->files())};
}

std::int64_t resolve_seq_len(const Config& config, std::int64_t given, bool allow_long, bool bos, const char* option) {
  if (given <= 0) return std::min(kDefaultSeqLen, config.max_positions - (bos ? 1 : 0));
  if (given > config.max_positions && !allow_long)
    fail(ErrorKind::mismatch, option, " ", given, " is longer than the model's ", config.max_positions,
         " positions (max_position_embeddings); choose at most ", config.max_positions, ", or pass --allow-long");
  return given;
}

std::int64_t sequence_length(const OpenedModel& opened, const DataOptions& options) {
  return resolve_seq_len(opened.model.config(), options.seq_len, options.allow_long,
                         resolve_bos(options.bos, *opened.tokenizer), "--seq-len");
}

bool resolve_bos(const std::string& given, const Tokenizer& tokenizer) {
  if (given == "on" && !tokenizer.bos()) fail(ErrorKind::usage, "--bos on: this tokenizer has no BOS token");
  return given == "on" || (given == "auto" && tokenizer.bos() && tokenizer.adds_bos());
}

TokenBatches load_calibration(const OpenedModel& opened, const DataOptions& options, std::uint64_t seed) {
  PackOptions pack;
  pack.prepend_bos = resolve_bos(options.bos, *opened.tokenizer);
  pack.seq_len = sequence_length(opened, options);
  pack.samples = options.samples;
  pack.pack = !options.documents;
  pack.shuffle = options.shuffle;
  pack.seed = seed;
  TokenBatches batches = load_sequences(options.path, options.corpus, *opened.tokenizer, pack);
  check_token_range(batches, opened.model.config().vocab);
  check_sweep_memory(opened.model, pack.seq_len);
  return batches;
}

void naming_bad_tensors(const Model& model, const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::numeric) check_finite(model.checkpoint());
    throw;
  }
}

void check_sweep_memory(const Model& model, std::int64_t seq_len) {
  const std::uint64_t needed = sweep_memory(model, seq_len, 0),
                      available = available_memory() / static_cast<std::uint64_t>(ranks().local_size());
  if (model.placement().device.is_cpu() && needed > available)
    fail(ErrorKind::resource, "sequences of ", seq_len, " tokens need about ", format_bytes(needed), " and ",
         format_bytes(available), " are free; use a smaller --seq-len or --dtype bfloat16");
}

const std::vector<std::string>& command_line() { return words(); }
Json computing_record(const Placement& placement, std::uint64_t seed) {
  Json record = run_record(command_line(), seed);
  record["threads"] = torch::get_num_threads();
  if (!ranks().alone()) record["ranks"] = ranks().size();
  record["device"] = placement.device.str();
  record["dtype"] = torch::toString(placement.dtype);
  return record;
}
void remember_command_line(const std::vector<std::string>& given) { words() = given; }

void check_output_directory(const std::string& path, bool overwrite) {
  std::error_code error;
  if (!path.empty() && !overwrite && std::filesystem::exists(path, error) && !std::filesystem::is_empty(path, error))
    fail(ErrorKind::io, path, ": already exists; choose another name, or pass --overwrite");
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
