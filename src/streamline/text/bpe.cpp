// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/bpe.h"

#include <algorithm>
#include <limits>
#include <queue>

#include "streamline/text/unicode.h"

namespace streamline {
namespace {

// Up to here looking at every pair again for each merge is faster than a heap.
constexpr std::size_t kShortWord = 32;

std::string byte_token(unsigned char byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

TokenId id_of(const Vocabulary& vocabulary, std::string_view token) {
  const auto found = vocabulary.find(token);
  return found == vocabulary.end() ? -1 : found->second;
}

struct Candidate {
  std::int32_t rank, position, result;
  bool operator<(const Candidate& other) const {  // the queue's top is its greatest
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

struct Link {
  TokenId id;
  std::int32_t previous, next;  // -1: none
};

}  // namespace

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, const BpeOptions& options)
    : options_(options) {
  if (options_.ignore_merges) whole_words_ = vocabulary;
  for (std::size_t rank = 0; rank < merges.size(); ++rank)
    merges_.insert(merges[rank].left, merges[rank].right, {static_cast<std::int32_t>(rank), merges[rank].result});
  ascii_.fill(-1);
  for (int byte = 0; byte < 256; ++byte) {
    const auto value = static_cast<unsigned char>(byte);
    const std::string itself(1, static_cast<char>(value));
    bytes_[byte] = id_of(vocabulary, options_.byte_level ? itself : byte_token(value));
  }
  if (options_.byte_level) return;
  std::vector<char> is_result;
  for (const Merge& merge : merges) {
    if (static_cast<std::size_t>(merge.result) >= is_result.size()) is_result.resize(merge.result + 1);
    is_result[merge.result] = 1;
  }
  for (const auto& [token, id] : vocabulary) {
    if (token.empty()) continue;
    const CodePoint first = code_point_at(token, 0);
    if (static_cast<std::size_t>(first.size) == token.size()) {
      singles_[first.value] = id;
      if (first.value < ascii_.size()) ascii_[first.value] = id;
    }
    if (static_cast<std::size_t>(id) < is_result.size() && is_result[id]) note_joints(token);
  }
}

void Bpe::note_joints(std::string_view token) {
  CodePoint left = code_point_at(token, 0);
  for (std::size_t i = left.size; i < token.size();) {
    const CodePoint right = code_point_at(token, i);
    joints_.insert(left.value, right.value, {});
    i += right.size;
    left = right;
  }
}

TokenId Bpe::single(char32_t character) const {
  if (character < ascii_.size()) return ascii_[character];
  const auto found = singles_.find(character);
  return found == singles_.end() ? -1 : found->second;
}

bool Bpe::may_join(char32_t left, char32_t right) const {
  // Characters outside the vocabulary stay with their neighbours: they may be fused or become bytes that merge.
  return joints_.find(left, right) != nullptr || single(left) < 0 || single(right) < 0;
}

void Bpe::encode(std::string_view word, std::vector<TokenId>& ids) const {
  if (word.empty()) return;
  WordCache own;
  const std::unique_lock lock(cache_mutex_, std::try_to_lock);
  WordCache& cache = lock.owns_lock() ? cache_ : own;
  if (options_.byte_level || options_.ignore_merges) return encode_part(word, ids, cache);
  std::size_t begin = 0;
  CodePoint left = code_point_at(word, 0);
  for (std::size_t i = left.size; i < word.size();) {
    const CodePoint right = code_point_at(word, i);
    if (!may_join(left.value, right.value)) {
      encode_part(word.substr(begin, i - begin), ids, cache);
      begin = i;
    }
    i += right.size;
    left = right;
  }
  encode_part(word.substr(begin), ids, cache);
}

void Bpe::encode_part(std::string_view part, std::vector<TokenId>& ids, WordCache& cache) const {
  if (part.size() > WordCache::kLongestWord) return encode_uncached(part, ids);
  const std::uint64_t hash = WordCache::hash(part);
  const auto known = cache.find(part, hash);
  if (known.data() != nullptr) {
    ids.insert(ids.end(), known.begin(), known.end());
    return;
  }
  const std::size_t before = ids.size();
  encode_uncached(part, ids);
  cache.insert(part, hash, std::span(ids).subspan(before));
}

void Bpe::encode_uncached(std::string_view part, std::vector<TokenId>& ids) const {
  if (options_.ignore_merges) {
    if (const TokenId whole = id_of(whole_words_, part); whole >= 0) return ids.push_back(whole);
  }
  std::vector<TokenId> symbols;
  first_symbols(part, symbols);
  symbols.size() <= kShortWord ? merge_short(symbols) : merge_long(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

bool Bpe::fall_back_to_bytes(std::string_view character, std::vector<TokenId>& symbols) const {
  const auto known = [&](char c) { return bytes_[static_cast<unsigned char>(c)] >= 0; };
  if (!options_.byte_fallback || !std::all_of(character.begin(), character.end(), known)) return false;
  for (const char c : character) symbols.push_back(bytes_[static_cast<unsigned char>(c)]);
  return true;
}

void Bpe::first_symbols(std::string_view part, std::vector<TokenId>& symbols) const {
  bool unknown = false;  // one or more unknown characters wait to be written
  for (std::size_t i = 0; i < part.size();) {
    const CodePoint c = options_.byte_level ? CodePoint{0, 1} : code_point_at(part, i);
    const std::string_view character = part.substr(i, c.size);
    const TokenId id = options_.byte_level ? bytes_[static_cast<unsigned char>(part[i])] : single(c.value);
    i += c.size;
    if (id >= 0) {
      if (unknown) symbols.push_back(options_.unk);
      unknown = false;
      symbols.push_back(id);
    } else if (!fall_back_to_bytes(character, symbols) && options_.unk >= 0) {
      if (unknown && !options_.fuse_unk) symbols.push_back(options_.unk);
      unknown = true;
    }
  }
  if (unknown) symbols.push_back(options_.unk);
}

void Bpe::merge_short(std::vector<TokenId>& symbols) const {
  std::array<PairTable::Value, kShortWord> pairs;  // of symbols i and i + 1
  const auto look = [&](std::size_t i) {
    const PairTable::Value* value = merges_.find(symbols[i], symbols[i + 1]);
    pairs[i] = value == nullptr ? PairTable::Value{std::numeric_limits<std::int32_t>::max(), -1} : *value;
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) look(i);
  while (symbols.size() > 1) {
    const std::size_t last = symbols.size() - 1;  // number of pairs
    std::size_t best = 0;
    for (std::size_t i = 1; i < last; ++i)
      if (pairs[i].rank < pairs[best].rank) best = i;
    if (pairs[best].result < 0) return;
    symbols[best] = pairs[best].result;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    std::copy(pairs.begin() + best + 1, pairs.begin() + last, pairs.begin() + best);
    if (best > 0) look(best - 1);
    if (best + 1 < symbols.size()) look(best);
  }
}

void Bpe::merge_long(std::vector<TokenId>& symbols) const {
  const auto count = static_cast<std::int32_t>(symbols.size());
  std::vector<Link> links(symbols.size());
  std::vector<Candidate> heap;
  const auto candidate = [&](std::int32_t at) { return merges_.find(links[at].id, links[links[at].next].id); };
  for (std::int32_t i = 0; i < count; ++i) links[i] = {symbols[i], i - 1, i + 1 < count ? i + 1 : -1};
  for (std::int32_t i = 0; i + 1 < count; ++i)
    if (const auto* value = candidate(i)) heap.push_back({value->rank, i, value->result});
  std::priority_queue queue(std::less<Candidate>{}, std::move(heap));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Link& link = links[top.position];
    if (link.id < 0 || link.next < 0) continue;  // merged into its left neighbour, or now the last
    const auto* still = candidate(top.position);
    if (still == nullptr || still->result != top.result) continue;
    Link& gone = links[link.next];
    link.id = top.result;
    gone.id = -1;
    link.next = gone.next;
    if (link.next >= 0) links[link.next].previous = top.position;
    for (const std::int32_t at : {link.previous, top.position})
      if (at >= 0 && links[at].next >= 0)
        if (const auto* value = candidate(at)) queue.push({value->rank, at, value->result});
  }
  symbols.clear();
  for (std::int32_t i = 0; i >= 0; i = links[i].next) symbols.push_back(links[i].id);
}

std::vector<Merge> merges_of_tokens(const Vocabulary& vocabulary, const std::vector<std::string_view>& tokens,
                                    bool whole_characters) {
  std::vector<Merge> merges;
  for (const std::string_view token : tokens) {
    const TokenId result = id_of(vocabulary, token);
    for (std::size_t cut = 1; cut < token.size(); ++cut) {
      if (whole_characters && (static_cast<unsigned char>(token[cut]) & 0xC0) == 0x80) continue;
      const TokenId left = id_of(vocabulary, token.substr(0, cut));
      const TokenId right = left < 0 ? -1 : id_of(vocabulary, token.substr(cut));
      if (right >= 0) merges.push_back({left, right, result});
    }
  }
  return merges;
}

}  // namespace streamline
