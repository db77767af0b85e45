// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/gguf_pre_types.h"
#include "streamline/text/tokenizer.h"
#include "support/core/expect.h"
#include "support/core/gguf_files.h"

namespace streamline {
namespace {

using test::flag;
using test::numbers;
using test::texts;
using test::u32;
using Entries = std::vector<std::string>;

std::string key(const std::string& name) { return "tokenizer.ggml." + name; }
std::string string(const std::string& name, const std::string& value) { return test::text(key(name), value); }
std::string types(const std::vector<std::int32_t>& values) { return numbers(key("token_type"), GgufType::i32, values); }

std::unique_ptr<Tokenizer> open(Entries entries, const Entries& more = {}) {
  entries.insert(entries.end(), more.begin(), more.end());
  return open_tokenizer(*memory_files("dir", {{"m.gguf", test::gguf_header(entries, {})}}));
}

using Ids = std::vector<TokenId>;

// 0 to 2 as SentencePiece has them, then pieces of which the one with the higher score is made first.
Entries spm() {
  return {string("model", "llama"),
          texts(key("tokens"),
                {"<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "\u2581a", "bb", "<0xC3>", "<0xA9>", "<x>"}),
          numbers<float>(key("scores"), GgufType::f32, {0, 0, 0, -9, -9, -9, -1, -2, -3, 0, 0, 0}),
          types({2, 3, 3, 1, 1, 1, 1, 1, 1, 6, 6, 4})};
}

TEST(GgufTokenizer, JoinsPiecesInTheOrderOfTheirScores) {
  const auto tokenizer = open(spm());
  EXPECT_EQ(tokenizer->encode("ab", false), (Ids{3, 6}));      // "ab" before "▁a"
  EXPECT_EQ(tokenizer->encode("abb", false), (Ids{3, 6, 5}));  // "ab" before "bb"
  EXPECT_EQ(tokenizer->encode("é", false), (Ids{3, 9, 10}));   // bytes
  EXPECT_EQ(tokenizer->encode("€", false), (Ids{3, 0}));       // not all of its bytes are pieces
  EXPECT_EQ(tokenizer->decode(Ids{3, 6, 9, 10}, false), "abé");
}

TEST(GgufTokenizer, PutsABlankInFrontAndBehindSpecialTokens) {
  EXPECT_EQ(open(spm())->encode("b<x>b</s>b", false), (Ids{3, 5, 11, 3, 5, 2, 3, 5}));
  const auto without = open(spm(), {flag(key("add_space_prefix"), false)});
  EXPECT_EQ(without->encode("b<x>b", false), (Ids{5, 11, 5}));
  EXPECT_EQ(without->decode(Ids{3, 5}, false), " b");
}

TEST(GgufTokenizer, SentencePieceHasTheHabitOfBos) {
  const auto tokenizer = open(spm());
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  EXPECT_EQ(tokenizer->encode("b", true), (Ids{1, 3, 5}));
  EXPECT_EQ(tokenizer->decode(Ids{1, 3, 5}, true), "b");
  const auto changed = open(spm(), {flag(key("add_bos_token"), false), flag(key("add_eos_token"), true),
                                    u32(key("bos_token_id"), 4), u32(key("eos_token_id"), 11)});
  EXPECT_FALSE(changed->adds_bos());
  EXPECT_EQ(changed->bos(), 4);
  EXPECT_EQ(changed->encode("b", true), (Ids{3, 5, 11}));
}

// "Ġ" is the blank of the byte alphabet.
Entries bpe(const std::string& pre) {
  return {string("model", "gpt2"),
          string("pre", pre),
          texts(key("tokens"), {"a", "b", "\u0120", "\u0120a", "ab", "1", "11", "<end>", "ba"}),
          texts(key("merges"), {"\u0120 a", "a b", "1 1"}),
          types({1, 1, 1, 1, 1, 1, 1, 3, 1}),
          u32(key("bos_token_id"), 7),
          u32(key("eos_token_id"), 7)};
}

TEST(GgufTokenizer, CutsTextAsThePreTypeSays) {
  EXPECT_EQ(open(bpe("gpt-2"))->encode("ab ab11", false), (Ids{4, 3, 1, 6}));
  EXPECT_EQ(open(bpe("starcoder"))->encode("11", false), (Ids{5, 5}));  // digits one by one
  EXPECT_EQ(open(bpe("gpt-2"))->encode("ba", false), (Ids{1, 0}));      // no merge makes it
  EXPECT_EQ(open(bpe("llama-bpe"))->encode("ba", false), (Ids{8}));     // a word of the vocabulary
  EXPECT_EQ(open(bpe("gpt-2"))->encode("a<end>", false), (Ids{0, 7}));
}

TEST(GgufTokenizer, BytesHaveTheHabitOfBosOnlyWhereTheirModelHas) {
  EXPECT_FALSE(open(bpe("gpt-2"))->adds_bos());
  EXPECT_TRUE(open(bpe("llama-bpe"))->adds_bos());
  EXPECT_FALSE(open(bpe("llama-bpe"), {flag(key("add_bos_token"), false)})->adds_bos());
  EXPECT_TRUE(open(bpe("gpt-2"), {flag(key("add_bos_token"), true)})->adds_bos());
}

TEST(GgufTokenizer, SaysWhatItCannotRead) {
  EXPECT_ERROR(open({}), format, "dir/m.gguf: has no tokenizer ('tokenizer.ggml.model')");
  EXPECT_ERROR(open({string("model", "bert")}), unsupported, "'tokenizer.ggml.model' is 'bert'; llama");
  EXPECT_ERROR(open({string("model", "gpt2")}), format, "has no 'tokenizer.ggml.tokens'");
  EXPECT_ERROR(open(bpe("unheard-of")), unsupported, "'tokenizer.ggml.pre' is 'unheard-of', which is not known");
  Entries entries = bpe("gpt-2");
  entries[3] = texts(key("merges"), {"a", "b"});
  EXPECT_ERROR(open(entries), format, "the merge 'a' is not two tokens and a blank");
  entries[3] = texts(key("merges"), {"a z"});
  EXPECT_ERROR(open(entries), format, "the merge 'a z' speaks of 'z', which is not in the vocabulary");
  entries.erase(entries.begin() + 3);
  EXPECT_ERROR(open(entries), format, "has no 'tokenizer.ggml.merges'");
  entries = bpe("gpt-2");
  entries[4] = types({1, 1});
  EXPECT_ERROR(open(entries), format, "9 tokens but 2 values of 'tokenizer.ggml.token_type'");
  entries[4] = types({1, 1, 1, 1, 1, 1, 1, 9, 1});
  EXPECT_ERROR(open(entries), unsupported, "has the unknown type 9");
  entries = bpe("gpt-2");
  entries[5] = u32(key("bos_token_id"), 9);
  EXPECT_ERROR(open(entries), format, "'tokenizer.ggml.bos_token_id' is 9, but there are 9 tokens");
  entries = spm();
  entries[2] = numbers<float>(key("scores"), GgufType::f32, {1, 2});
  EXPECT_ERROR(open(entries), format, "12 tokens but 2 values of 'tokenizer.ggml.scores'");
  entries[1] = texts(key("tokens"), {"\xff"});
  EXPECT_ERROR(open(entries), format, "a token: not valid UTF-8 at byte 0");
}

TEST(GgufTokenizer, IsNotLookedForBesideATokenizerFile) {
  EXPECT_ERROR(open_tokenizer(*memory_files("dir", {{"m.gguf", "broken"}, {"tokenizer.json", "{"}})), format,
               "dir/tokenizer.json");
}

}  // namespace
}  // namespace streamline
