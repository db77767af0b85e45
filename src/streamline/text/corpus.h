// SPDX-License-Identifier: Apache-2.0
// Calibration text: files to documents, documents to token sequences.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "streamline/text/tokenizer.h"

namespace streamline {

struct Document {
  std::string text;
  std::string origin;  // file, and line of a .jsonl: "train.jsonl:17"
};

struct CorpusOptions {
  std::string text_field = "text";
};

// .txt (one document a file), .jsonl (one a line), each also .gz or .zst; a directory: its files in name order.
// Documents are handed over one by one; return false to stop early. Errors: io, format (file and line), resource when
// there is no text at all. Invalid UTF-8 is a format error with file and byte offset.
void read_corpus(const std::filesystem::path& path, const CorpusOptions& options,
                 const std::function<bool(Document&&)>& take);

// Sequences of token ids; all of one length when packed.
struct TokenBatches {
  std::vector<std::vector<TokenId>> sequences;
  std::string digest;           // SHA-256 of the ids
  std::string source;           // path, for people
  std::int64_t documents = 0;   // that went in
  std::int64_t bytes = 0;       // UTF-8 bytes of the text that the tokens came from
  std::int64_t skip_first = 0;  // leading positions of each sequence (BOS) that enter no statistic

  std::int64_t tokens() const;     // of the text: what skip_first leaves out is not counted
  std::int64_t positions() const;  // all ids
};

struct PackOptions {
  std::int64_t seq_len = 512;  // tokens of text in each sequence
  std::int64_t samples = 0;    // sequences wanted; 0: all there is
  bool pack = true;            // false: one document a sequence, cut at seq_len, in its own length
  bool shuffle = false;        // draw the samples at random over the whole corpus (needs seed), else the first ones
  std::uint64_t seed = 0;
  bool prepend_bos = false;     // BOS in front of each sequence (which then has seq_len + 1 ids, skip_first = 1)
  std::string when_short = {};  // what to do about a text with too few tokens, for that error's end
};

// Tokenises documents one by one without special tokens, joins them with nothing between, cuts into seq_len.
// Errors: resource: "needs 32 sequences of 512 = 16384 tokens; corpus.txt has 9120".
TokenBatches load_sequences(const std::filesystem::path& path, const CorpusOptions& corpus, const Tokenizer& tokenizer,
                            const PackOptions& options);

// Training and validation sequences that share no document: documents are assigned to the validation side at random
// (seeded) until it holds `validation_sequences`. A corpus of one document is split once, its tail being held out.
struct SplitSequences {
  TokenBatches training, validation;
};
SplitSequences load_split(const std::filesystem::path& path, const CorpusOptions& corpus, const Tokenizer& tokenizer,
                          const PackOptions& options, std::int64_t validation_sequences);

// Error mismatch when an id is >= vocab ("token id 49152 (sequence 3) is outside the embedding's 49152 rows").
void check_token_range(const TokenBatches& batches, std::int64_t vocab);

}  // namespace streamline
