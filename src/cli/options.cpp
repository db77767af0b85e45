// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <algorithm>

#include "rank_group.h"
#include "shipped_text.h"
#include "streamline/arch/companions.h"
#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/engine/sweep.h"
#include "streamline/heal/sherl.h"
#include "streamline/io/checkpoint_writer.h"
#include "streamline/nn/type_name.h"
#include "streamline/report/report.h"

namespace streamline::cli {
namespace {

constexpr std::int64_t kDefaultSeqLen = 512;

// Ranks of one machine have a CUDA device each.
std::string device_of_rank(const std::string& asked) {
  if (ranks().alone() || (asked != "cuda" && (asked != "auto" || !torch::cuda::is_available()))) return asked;
  return "cuda:" + std::to_string(ranks().local_rank());
}

}  // namespace

Placement start(const CommonOptions& options) {
  if (ranks().first()) start_logging(options);  // the others are silent
  set_threads(static_cast<int>(options.threads), ranks().local_size());
  Placement placement = resolve_placement(device_of_rank(options.device), options.dtype);
  placement.ranks = ranks();
  if (!options.memory.empty()) placement.memory = parse_size(options.memory);
  log_detail("computing on " + describe(placement));
  return placement;
}

void check_writes_text(const Checkpoint& checkpoint, const char* instead) {
  const bool chips = !chips_file(checkpoint).empty();
  if (chips || checkpoint.find(kClassHead) != nullptr)
    fail(ErrorKind::unsupported, checkpoint.label(), ": is a classifier",
         chips ? " (a model cut behind its chips)" : "", " and writes no text; ",
         chips ? instead : "take the model that it was made from, with its head");
}

void check_tokenizer(const Tokenizer& tokenizer, const Config& config, const std::string& model) {
  if (const std::string excess = excess_of_tokens(tokenizer.own_size(), config.vocab); !excess.empty())
    fail(ErrorKind::mismatch, model, ": its tokenizer ", excess);
  if (const std::string shortage = shortage_of_tokens(tokenizer.vocab_size(), config.vocab); !shortage.empty())
    log_warning(model + ": its tokenizer " + shortage);
}

OpenedModel open_model(const std::string& model, const Placement& placement, Head head) {
  auto checkpoint = open_checkpoint(model);
  if (head == Head::language) check_writes_text(*checkpoint);
  OpenedModel opened{with_side_route(Model::open(checkpoint, placement)), open_tokenizer(checkpoint->files())};
  check_tokenizer(*opened.tokenizer, opened.model.config(), checkpoint->label());
  return opened;
}

Longer longer_if(bool allow_long) { return allow_long ? Longer::allowed : Longer::on_request; }

std::int64_t resolve_seq_len(const Config& config, std::int64_t given, Longer longer, bool bos, const char* option) {
  const std::int64_t most = config.max_positions - (bos ? 1 : 0);
  if (given <= 0) return std::min(kDefaultSeqLen, most);
  if (given > most && longer != Longer::allowed)
    fail(ErrorKind::mismatch, option, " ", given, bos ? " and BOS in front are" : " is", " longer than the model's ",
         config.max_positions, " positions (max_position_embeddings); choose at most ", most,
         longer == Longer::on_request ? ", or pass --allow-long" : "");
  return given;
}

std::int64_t sequence_length(const OpenedModel& opened, const DataOptions& options) {
  return resolve_seq_len(opened.model.config(), options.seq_len, longer_if(options.allow_long),
                         resolve_bos(options.bos, *opened.tokenizer), "--seq-len");
}

void check_long_enough(const EvaluationText& text, std::int64_t window, const char* option) {
  if (const std::int64_t tokens = std::ssize(text.ids); tokens < window)
    fail(ErrorKind::resource, text.source, ": ", tokens, " tokens; one window needs ", window,
         "; give a longer text, or a smaller ", option);
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
  const CorpusOptions corpus = options.shipped ? CorpusOptions{} : options.corpus;
  TokenBatches batches = load_sequences(options.path, corpus, *opened.tokenizer, pack);
  if (options.shipped) batches.source = shipped_name(options.path, batches.source);
  check_token_range(batches, opened.model.config().vocab);
  check_sweep_memory(opened.model, pack.seq_len);
  return batches;
}

Json text_record(const TokenBatches& text) {
  Json record = {{"source", text.source},
                 {"sequences", text.sequences.size()},
                 {"tokens", text.tokens()},
                 {"documents", text.documents},
                 {"digest", text.digest}};
  const auto size = [](const std::vector<TokenId>& sequence) { return std::ssize(sequence); };
  if (!text.sequences.empty() &&
      std::ranges::adjacent_find(text.sequences, std::ranges::not_equal_to{}, size) == text.sequences.end())
    record["seq_len"] = size(text.sequences.front()) - text.skip_first;
  return record;
}

void naming_bad_tensors(const Model& model, const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::numeric) check_finite(model.checkpoint());
    throw;
  }
}

Json computing_record(const Placement& placement, std::uint64_t seed) {
  Json record = run_record(command_line(), seed);
  record["threads"] = torch::get_num_threads();
  if (!ranks().alone()) record["ranks"] = ranks().size();
  record["device"] = placement.device.str();
  record["dtype"] = type_name(placement.dtype);
  return record;
}

}  // namespace streamline::cli
