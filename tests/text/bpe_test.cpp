// SPDX-License-Identifier: Apache-2.0
// The merges of bpe.h, which are fast, against the definition, which is short.
#include "streamline/text/bpe.h"

#include <optional>

#include "streamline/base/random.h"
#include "tests/support/core/expect.h"

namespace streamline {
namespace {

struct Alphabet {
  Vocabulary vocabulary;
  std::vector<std::string> tokens;
  std::vector<Merge> merges;

  TokenId add(const std::string& token) {
    const auto [place, is_new] = vocabulary.emplace(token, static_cast<TokenId>(tokens.size()));
    if (is_new) tokens.push_back(token);
    return place->second;
  }
};

// Letters and `merges` random merges of what there is so far.
Alphabet random_alphabet(int letters, int merges, Rng& rng) {
  Alphabet alphabet;
  for (int i = 0; i < letters; ++i) alphabet.add(std::string(1, static_cast<char>('a' + i)));
  while (static_cast<int>(alphabet.merges.size()) < merges) {
    const auto left = static_cast<TokenId>(rng.below(alphabet.tokens.size()));
    const auto right = static_cast<TokenId>(rng.below(alphabet.tokens.size()));
    const std::string joined = alphabet.tokens[left] + alphabet.tokens[right];
    if (joined.size() > 12 || alphabet.vocabulary.contains(joined)) continue;
    alphabet.merges.push_back({left, right, alphabet.add(joined)});
  }
  return alphabet;
}

// While any neighbours have a merge: carry out the one of lowest rank, the leftmost of equals.
std::vector<TokenId> reference(const Alphabet& alphabet, std::string_view word) {
  std::vector<TokenId> symbols;
  for (const char c : word) symbols.push_back(c - 'a');
  while (true) {
    std::optional<std::size_t> best_rank, best_place;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
      for (std::size_t rank = 0; rank < best_rank.value_or(alphabet.merges.size()); ++rank)
        if (alphabet.merges[rank].left == symbols[i] && alphabet.merges[rank].right == symbols[i + 1])
          best_rank = rank, best_place = i;
    if (!best_rank) return symbols;
    symbols[*best_place] = alphabet.merges[*best_rank].result;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(*best_place) + 1);
  }
}

std::string random_word(std::size_t size, int letters, Rng& rng) {
  std::string word;
  for (std::size_t i = 0; i < size; ++i) word += static_cast<char>('a' + rng.below(letters));
  return word;
}

class RandomBpe : public testing::TestWithParam<bool> {};

TEST_P(RandomBpe, MergesAsTheDefinitionSaysInWordsOfAnyLength) {
  Rng rng(7);
  for (int round = 0; round < 20; ++round) {
    const int letters = 2 + static_cast<int>(rng.below(4));
    const Alphabet alphabet = random_alphabet(letters, 30, rng);
    const Bpe bpe(alphabet.vocabulary, alphabet.merges, {.byte_level = GetParam()});
    for (const std::size_t size : {1u, 2u, 7u, 31u, 32u, 33u, 64u, 65u, 200u}) {
      const std::string word = random_word(size, letters, rng);
      std::vector<TokenId> once, again;
      bpe.encode(word, once);
      bpe.encode(word, again);
      EXPECT_EQ(once, reference(alphabet, word)) << word;
      EXPECT_EQ(once, again) << "from the cache of words";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(OfBytesAndOfCharacters, RandomBpe, testing::Bool(),
                         [](const auto& info) { return info.param ? "Bytes" : "Characters"; });

TEST(Bpe, TakesALongRunOfOneLetterInItsStride) {
  // Quadratic work would be 10^12 steps here.
  Alphabet alphabet;
  std::string run = "a";
  alphabet.add(run);
  for (int i = 0; i < 5; ++i, run += run) {
    const TokenId half = alphabet.vocabulary.at(run);
    alphabet.merges.push_back({half, half, alphabet.add(run + run)});
  }
  const Bpe bpe(alphabet.vocabulary, alphabet.merges, {.byte_level = true});
  std::vector<TokenId> ids;
  bpe.encode(std::string(1 << 20, 'a'), ids);
  EXPECT_EQ(ids, std::vector<TokenId>((1 << 20) / 32, 5));
}

TEST(WordCache, ForgetsWhenFullAndStaysRight) {
  WordCache cache;
  for (int i = 0; i < 100000; ++i) {
    const std::string word = std::to_string(i);
    const auto hash = WordCache::hash(word);
    const TokenId id = i;
    cache.insert(word, hash, std::span(&id, 1));
    const auto found = cache.find(word, hash);
    ASSERT_EQ(found.size(), 1u);
    ASSERT_EQ(found[0], i);
  }
  const auto gone = cache.find("0", WordCache::hash("0"));
  EXPECT_EQ(gone.data(), nullptr);
}

TEST(MergesOfTokens, AreEverySplitIntoKnownParts) {
  const Vocabulary vocabulary = {{"a", 0}, {"b", 1}, {"ab", 2}, {"aba", 3}, {"ba", 4}};
  const auto merges = merges_of_tokens(vocabulary, {"a", "b", "ab", "ba", "aba"}, true);
  const std::vector<std::array<TokenId, 3>> expected = {{0, 1, 2}, {1, 0, 4}, {0, 4, 3}, {2, 0, 3}};
  ASSERT_EQ(merges.size(), expected.size());
  for (std::size_t i = 0; i < merges.size(); ++i)
    EXPECT_EQ((std::array{merges[i].left, merges[i].right, merges[i].result}), expected[i]) << i;
}

}  // namespace
}  // namespace streamline
