// SPDX-License-Identifier: Apache-2.0
// Documents to sequences: packed end to end or one by one, from the front or drawn at random, split by document.
#include <algorithm>
#include <iterator>
#include <numeric>
#include <span>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/number_text.h"
#include "streamline/base/random.h"
#include "streamline/text/corpus.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

// A document as tokens, with the bytes of its text.
struct TokenDocument {
  std::vector<TokenId> ids;
  std::int64_t bytes = 0;
};

// Reads documents until `enough` says so.
template <class Enough>
std::vector<TokenDocument> read_documents(const fs::path& path, const CorpusOptions& corpus, const Tokenizer& tokenizer,
                                          const Enough& enough) {
  std::vector<TokenDocument> documents;
  read_corpus(path, corpus, [&](Document&& document) {
    TokenDocument tokens{tokenizer.encode(document.text, false), static_cast<std::int64_t>(document.text.size())};
    if (!tokens.ids.empty()) documents.push_back(std::move(tokens));
    return !enough(documents);
  });
  return documents;
}

std::int64_t count_tokens(std::span<const TokenDocument> documents) {
  return std::accumulate(
      documents.begin(), documents.end(), std::int64_t{0},
      [](std::int64_t sum, const auto& document) { return sum + static_cast<std::int64_t>(document.ids.size()); });
}

// Bytes behind the first `count` tokens of a document: exact up to a character cut in two.
std::int64_t bytes_of_prefix(const TokenDocument& document, std::size_t count, const Tokenizer& tokenizer) {
  if (count >= document.ids.size()) return document.bytes;
  const auto text = tokenizer.decode(std::span(document.ids).first(count), false);
  return std::min(document.bytes, static_cast<std::int64_t>(text.size()));
}

// [first, last) of the corpus' tokens laid end to end.
std::vector<TokenId> slice(std::span<const TokenDocument> documents, std::int64_t first, std::int64_t last) {
  std::vector<TokenId> ids;
  std::int64_t start = 0;
  for (const TokenDocument& document : documents) {
    const auto size = static_cast<std::int64_t>(document.ids.size());
    const std::int64_t from = std::clamp<std::int64_t>(first - start, 0, size);
    const std::int64_t to = std::clamp<std::int64_t>(last - start, 0, size);
    ids.insert(ids.end(), document.ids.begin() + from, document.ids.begin() + to);
    start += size;
    if (start >= last) break;
  }
  return ids;
}

// Which of `available` sequences to take: the first ones, or a seeded draw.
std::vector<std::int64_t> choose(std::int64_t available, const PackOptions& options) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(available));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (options.shuffle) {
    Rng rng(options.seed);
    order = permutation(available, rng);
  }
  if (options.samples > 0) order.resize(static_cast<std::size_t>(options.samples));
  return order;
}

[[noreturn]] void fail_too_little(const std::string& source, const PackOptions& options, std::int64_t tokens) {
  const std::int64_t wanted = std::max<std::int64_t>(options.samples, 1);
  fail(ErrorKind::resource, "needs ", counted(wanted, "sequence"), " of ", options.seq_len, " = ",
       wanted * options.seq_len, " tokens; ", source, " has ", tokens,
       tokens < options.seq_len ? "" : ", enough for " + std::to_string(tokens / options.seq_len),
       options.when_short.empty() ? "" : "; " + options.when_short);
}

TokenBatches pack(std::span<const TokenDocument> documents, const std::string& source, const Tokenizer& tokenizer,
                  const PackOptions& options) {
  const std::int64_t tokens = count_tokens(documents), available = tokens / options.seq_len;
  if (available < std::max<std::int64_t>(options.samples, 1)) fail_too_little(source, options, tokens);
  TokenBatches batches;
  // The ids of the corpus in one run: cutting any number of windows then costs one pass.
  const std::vector<TokenId> all = slice(documents, 0, tokens);
  for (const std::int64_t window : choose(available, options)) {
    const auto begin = all.begin() + window * options.seq_len;
    batches.sequences.emplace_back(begin, begin + options.seq_len);
  }
  const std::int64_t used = static_cast<std::int64_t>(batches.sequences.size()) * options.seq_len;
  if (options.shuffle) {
    const std::int64_t bytes = std::accumulate(documents.begin(), documents.end(), std::int64_t{0},
                                               [](std::int64_t sum, const auto& each) { return sum + each.bytes; });
    batches.documents = static_cast<std::int64_t>(documents.size());
    batches.bytes = static_cast<std::int64_t>(static_cast<double>(bytes) * static_cast<double>(used) /
                                              static_cast<double>(tokens));  // a share: windows lie anywhere
    return batches;
  }
  std::int64_t left = used;
  for (const TokenDocument& document : documents) {
    if (left <= 0) break;
    ++batches.documents;
    batches.bytes += bytes_of_prefix(document, static_cast<std::size_t>(left), tokenizer);
    left -= static_cast<std::int64_t>(document.ids.size());
  }
  return batches;
}

TokenBatches one_by_one(std::span<const TokenDocument> documents, const std::string& source, const Tokenizer& tokenizer,
                        const PackOptions& options) {
  const auto available = static_cast<std::int64_t>(documents.size());
  if (available < std::max<std::int64_t>(options.samples, 1))
    fail(ErrorKind::resource, "needs ", counted(std::max<std::int64_t>(options.samples, 1), "document"), "; ", source,
         " has ", available);
  TokenBatches batches;
  for (const std::int64_t i : choose(available, options)) {
    const TokenDocument& document = documents[static_cast<std::size_t>(i)];
    const std::size_t size = std::min(document.ids.size(), static_cast<std::size_t>(options.seq_len));
    batches.sequences.emplace_back(document.ids.begin(), document.ids.begin() + static_cast<std::ptrdiff_t>(size));
    batches.bytes += bytes_of_prefix(document, size, tokenizer);
    ++batches.documents;
  }
  return batches;
}

void put_bos_in_front(TokenBatches& batches, const Tokenizer& tokenizer, const std::string& source) {
  const auto bos = tokenizer.bos();
  if (!bos)
    fail(ErrorKind::mismatch, source, ": BOS is wanted in front of each sequence, but the tokenizer has no BOS");
  for (auto& sequence : batches.sequences) sequence.insert(sequence.begin(), *bos);
  batches.skip_first = 1;
}

std::string digest_of(const std::vector<std::vector<TokenId>>& sequences) {
  Sha256 digest;
  for (const auto& sequence : sequences) digest.update(std::as_bytes(std::span(sequence)));
  return digest.hex();
}

TokenBatches make_batches(std::span<const TokenDocument> documents, const std::string& source,
                          const Tokenizer& tokenizer, const PackOptions& options) {
  TokenBatches batches =
      options.pack ? pack(documents, source, tokenizer, options) : one_by_one(documents, source, tokenizer, options);
  if (options.prepend_bos) put_bos_in_front(batches, tokenizer, source);
  batches.digest = digest_of(batches.sequences);
  batches.source = source;
  return batches;
}

void check_options(const PackOptions& options) {
  if (options.seq_len < 1) fail(ErrorKind::usage, "a sequence of ", options.seq_len, " tokens; expected at least 1");
  if (options.samples < 0) fail(ErrorKind::usage, options.samples, " samples; expected 0 (all there is) or more");
}

std::int64_t amount(std::span<const TokenDocument> documents, const PackOptions& options) {
  return options.pack ? count_tokens(documents) / options.seq_len : static_cast<std::int64_t>(documents.size());
}

// The last `sequences` of one document are held out.
std::pair<std::vector<TokenDocument>, std::vector<TokenDocument>> split_one(TokenDocument document,
                                                                            const PackOptions& options,
                                                                            std::int64_t sequences,
                                                                            const Tokenizer& tokenizer) {
  const auto size = static_cast<std::int64_t>(document.ids.size());
  const std::int64_t held =
      std::min(size, options.pack ? sequences * options.seq_len : std::min(size / 2, options.seq_len));
  TokenDocument head, tail;
  head.ids.assign(document.ids.begin(), document.ids.end() - held);
  tail.ids.assign(document.ids.end() - held, document.ids.end());
  head.bytes = bytes_of_prefix(document, head.ids.size(), tokenizer);
  tail.bytes = document.bytes - head.bytes;
  std::vector<TokenDocument> training, validation;
  training.push_back(std::move(head));
  validation.push_back(std::move(tail));
  return {std::move(training), std::move(validation)};
}

// Documents in a seeded order go to the validation side until it holds enough; the rest keep their order.
std::pair<std::vector<TokenDocument>, std::vector<TokenDocument>> split_many(std::vector<TokenDocument> documents,
                                                                             const PackOptions& options,
                                                                             std::int64_t sequences) {
  Rng rng(options.seed);
  std::vector<char> held(documents.size(), 0);
  std::vector<TokenDocument> training, validation;
  for (const std::int64_t i : permutation(static_cast<std::int64_t>(documents.size()), rng)) {
    if (amount(validation, options) >= sequences) break;
    held[static_cast<std::size_t>(i)] = 1;
    validation.push_back(std::move(documents[static_cast<std::size_t>(i)]));
  }
  for (std::size_t i = 0; i < documents.size(); ++i)
    if (!held[i]) training.push_back(std::move(documents[i]));
  return {std::move(training), std::move(validation)};
}

}  // namespace

std::int64_t TokenBatches::tokens() const { return positions() - skip_first * std::ssize(sequences); }

std::int64_t TokenBatches::positions() const {
  return std::accumulate(sequences.begin(), sequences.end(), std::int64_t{0},
                         [](std::int64_t sum, const auto& ids) { return sum + static_cast<std::int64_t>(ids.size()); });
}

TokenBatches load_sequences(const fs::path& path, const CorpusOptions& corpus, const Tokenizer& tokenizer,
                            const PackOptions& options) {
  check_options(options);
  std::int64_t have = 0;
  const auto enough = [&](const std::vector<TokenDocument>& documents) {
    if (options.samples == 0 || options.shuffle || documents.empty()) return false;
    have += options.pack ? static_cast<std::int64_t>(documents.back().ids.size()) : options.seq_len;
    return have >= options.samples * options.seq_len;
  };
  const auto documents = read_documents(path, corpus, tokenizer, enough);
  return make_batches(documents, path.string(), tokenizer, options);
}

SplitSequences load_split(const fs::path& path, const CorpusOptions& corpus, const Tokenizer& tokenizer,
                          const PackOptions& options, std::int64_t validation_sequences) {
  check_options(options);
  if (validation_sequences < 1)
    fail(ErrorKind::usage, validation_sequences, " validation sequences; expected at least 1");
  // Whichever documents are held out, at most the longest of them is more than was needed.
  std::int64_t have = 0, longest = 0;
  const auto enough = [&](const std::vector<TokenDocument>& documents) {
    if (options.samples == 0 || options.shuffle || documents.empty()) return false;
    const std::int64_t size = options.pack ? static_cast<std::int64_t>(documents.back().ids.size()) : options.seq_len;
    have += size;
    longest = std::max(longest, size);
    return have - longest >= (options.samples + validation_sequences + 1) * options.seq_len;
  };
  auto documents = read_documents(path, corpus, tokenizer, enough);
  auto [training, validation] = documents.size() == 1
                                    ? split_one(std::move(documents[0]), options, validation_sequences, tokenizer)
                                    : split_many(std::move(documents), options, validation_sequences);
  PackOptions held_out = options;
  held_out.samples = validation_sequences;
  held_out.shuffle = false;
  held_out.when_short.clear();
  if (!options.pack) held_out.samples = std::min(validation_sequences, static_cast<std::int64_t>(validation.size()));
  const std::string source = path.string();
  return {.training = make_batches(training, source + " (training part)", tokenizer, options),
          .validation = make_batches(validation, source + " (held-out part)", tokenizer, held_out)};
}

void check_token_range(const TokenBatches& batches, std::int64_t vocab) {
  for (std::size_t i = 0; i < batches.sequences.size(); ++i)
    for (const TokenId id : batches.sequences[i])
      if (id < 0 || id >= vocab)
        fail(ErrorKind::mismatch, "token id ", id, " (sequence ", i, ") is outside the embedding's ", vocab, " rows");
}

}  // namespace streamline
