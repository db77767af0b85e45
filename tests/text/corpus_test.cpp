// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/corpus.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "streamline/base/digest.h"
#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;
using test::TemporaryDirectory;

// A token a byte: what is in a sequence can be read.
class ByteTokenizer : public Tokenizer {
 public:
  std::vector<TokenId> encode(std::string_view text, bool) const override { return {text.begin(), text.end()}; }
  std::string decode(std::span<const TokenId> ids, bool) const override { return {ids.begin(), ids.end()}; }
  std::int64_t vocab_size() const override { return 256; }
  std::optional<TokenId> bos() const override { return has_bos ? std::optional<TokenId>(1) : std::nullopt; }
  std::optional<TokenId> eos() const override { return std::nullopt; }
  bool adds_bos() const override { return false; }
  bool has_bos = true;
};

std::string text_of(const std::vector<TokenId>& ids) { return ByteTokenizer().decode(ids, false); }

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::vector<Document> documents_of(const fs::path& path, const CorpusOptions& options = {}) {
  std::vector<Document> documents;
  read_corpus(path, options, [&](Document&& document) {
    documents.push_back(std::move(document));
    return true;
  });
  return documents;
}

class Corpus : public testing::Test {
 protected:
  fs::path file(const std::string& name, const std::string& contents) {
    const fs::path path = directory_.path() / name;
    write_text(path, contents);
    return path;
  }
  TemporaryDirectory directory_;
};

TEST_F(Corpus, TextFileIsOneDocument) {
  const auto documents = documents_of(file("a.txt", "one\ntwo\n"));
  ASSERT_EQ(documents.size(), 1u);
  EXPECT_EQ(documents[0].text, "one\ntwo\n");
  EXPECT_THAT(documents[0].origin, testing::HasSubstr("a.txt"));
}

TEST_F(Corpus, JsonLinesAreADocumentALineWithItsOrigin) {
  const auto path = file("a.jsonl", "{\"text\":\"one\"}\n\n{\"text\":\"zw\\u00f6lf\",\"id\":2}");
  const auto documents = documents_of(path);
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[1].text, "zwölf");
  EXPECT_EQ(documents[1].origin, path.string() + ":3");
}

TEST_F(Corpus, TheTextFieldCanBeNamed) {
  const auto documents = documents_of(file("a.jsonl", "{\"content\":\"x\"}\n"), {.text_field = "content"});
  ASSERT_EQ(documents.size(), 1u);
  EXPECT_EQ(documents[0].text, "x");
}

// Long enough to need several buffers, in several members or frames.
TEST_F(Corpus, CompressedFilesReadAsPlainOnes) {
  std::string half;
  for (int i = 0; half.size() < 600000; ++i) half += "line " + std::to_string(i * 7919) + "\n";
  for (const auto& [name, bytes] : std::map<std::string, std::string>{
           {"a.txt", half + half}, {"b.txt.gz", gzip(half) + gzip(half)}, {"c.txt.zst", zstd(half) + zstd(half)}}) {
    const auto documents = documents_of(file(name, bytes));
    ASSERT_EQ(documents.size(), 1u) << name;
    EXPECT_TRUE(documents[0].text == half + half) << name;
  }
  EXPECT_EQ(documents_of(file("d.jsonl.zst", zstd("{\"text\":\"one\"}\n{\"text\":\"two\"}\n"))).size(), 2u);
}

TEST_F(Corpus, DirectoryIsItsTextFilesInNameOrder) {
  file("b.txt", "second");
  file("a.jsonl.gz", gzip("{\"text\":\"first\"}"));
  file("README.md", "not a document");
  const auto documents = documents_of(directory_.path());
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(documents[0].text, "first");
  EXPECT_EQ(documents[1].text, "second");
}

TEST_F(Corpus, ReadingStopsWhenToldSo) {
  int seen = 0;
  read_corpus(file("a.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\"}\nnot json\n"), {},
              [&](Document&&) { return ++seen < 2; });
  EXPECT_EQ(seen, 2);
}

struct HostileCase {
  const char* name;
  const char* file;
  std::string contents;
  ErrorKind kind;
  const char* message;
};

class HostileCorpus : public testing::TestWithParam<HostileCase> {};

TEST_P(HostileCorpus, IsRefusedWithFileAndReason) {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / GetParam().file;
  write_text(path, GetParam().contents);
  try {
    documents_of(path);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), GetParam().kind) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(path.string()));
    EXPECT_THAT(error.what(), testing::HasSubstr(GetParam().message));
  }
}

std::string damaged(std::string bytes) {
  for (std::size_t i = bytes.size() / 2; i < bytes.size() / 2 + 8; ++i) bytes[i] = static_cast<char>(~bytes[i]);
  return bytes;
}

std::string cut_short(std::string bytes) { return bytes.substr(0, bytes.size() - 9); }

const std::string kSomeText = [] {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += std::to_string(i * i);
  return text;
}();

INSTANTIATE_TEST_SUITE_P(
    All, HostileCorpus,
    testing::Values(
        HostileCase{"EmptyText", "a.txt", "", ErrorKind::resource, "no text"},
        HostileCase{"EmptyJsonLines", "a.jsonl", "\n\n", ErrorKind::resource, "no text"},
        HostileCase{"OnlyEmptyDocuments", "a.jsonl", "{\"text\":\"\"}\n", ErrorKind::resource, "no text"},
        HostileCase{"InvalidText", "a.txt", "abc\xFF", ErrorKind::format, "not valid UTF-8 at byte 3"},
        HostileCase{"InvalidJsonLines", "a.jsonl", "{\"text\":\"a\"}\n{\"text\":\"\xC3\"}\n", ErrorKind::format,
                    "not valid UTF-8 at byte 22"},
        HostileCase{"InvalidCompressed", "a.txt.zst", zstd("ab\x80"), ErrorKind::format, "not valid UTF-8 at byte 2"},
        HostileCase{"MalformedLine", "a.jsonl", "{\"text\":\"a\"}\n{\"text\":\n", ErrorKind::format,
                    "a.jsonl:2: not valid"},
        HostileCase{"LineThatIsNoObject", "a.jsonl", "[1]\n", ErrorKind::format, "a.jsonl:1: not a JSON object"},
        HostileCase{"MissingField", "a.jsonl", "{\"body\":\"a\",\"n\":1}\n", ErrorKind::format,
                    "a.jsonl:1: has no field 'text' (fields: body, n)"},
        HostileCase{"FieldOfNumbers", "a.jsonl", "{\"text\":5}\n", ErrorKind::format, "a.jsonl:1"},
        HostileCase{"NotGzip", "a.txt.gz", "plain text, really", ErrorKind::format, "gzip"},
        HostileCase{"DamagedGzip", "a.txt.gz", damaged(gzip(kSomeText)), ErrorKind::format, "gzip"},
        HostileCase{"ShortGzip", "a.txt.gz", cut_short(gzip(kSomeText)), ErrorKind::format, "ends early"},
        HostileCase{"EmptyGzip", "a.txt.gz", "", ErrorKind::format, "gzip"},
        HostileCase{"NotZstd", "a.txt.zst", "plain text, really", ErrorKind::format, "zstd"},
        HostileCase{"DamagedZstd", "a.jsonl.zst", damaged(zstd(kSomeText)).erase(4, 1), ErrorKind::format,
                    "a.jsonl.zst"},
        HostileCase{"ShortZstd", "a.txt.zst", cut_short(zstd(kSomeText)), ErrorKind::format, "ends early"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(Corpus, WhatIsNotThereIsAnError) {
  EXPECT_ERROR(documents_of(directory_.path() / "none.txt"), io, "none.txt");
  EXPECT_ERROR(documents_of(directory_.path()), resource, "no .txt or .jsonl file");
}

TEST_F(Corpus, SequencesAreDocumentsEndToEnd) {
  const auto path = file("a.jsonl", "{\"text\":\"abcde\"}\n{\"text\":\"fgh\"}\n{\"text\":\"ij\"}\n");
  const auto batches = load_sequences(path, {}, ByteTokenizer(), {.seq_len = 4});
  ASSERT_EQ(batches.sequences.size(), 2u);
  EXPECT_EQ(text_of(batches.sequences[0]), "abcd");
  EXPECT_EQ(text_of(batches.sequences[1]), "efgh");
  EXPECT_EQ(batches.documents, 2) << "the third would begin a sequence that is not full";
  EXPECT_EQ(batches.bytes, 8);
  EXPECT_EQ(batches.tokens(), 8);
  const std::vector<TokenId> ids = {97, 98, 99, 100, 101, 102, 103, 104};
  EXPECT_EQ(batches.digest, sha256(std::as_bytes(std::span(ids))));
}

TEST_F(Corpus, OnlyAsMuchIsReadAsIsWanted) {
  const auto path = file("a.jsonl", "{\"text\":\"abcde\"}\nnot json\n");
  const auto batches = load_sequences(path, {}, ByteTokenizer(), {.seq_len = 2, .samples = 2});
  EXPECT_EQ(batches.sequences.size(), 2u);
  EXPECT_EQ(batches.bytes, 4);
}

TEST_F(Corpus, OneDocumentASequenceIsCutAtItsLength) {
  const auto path = file("a.jsonl", "{\"text\":\"abcde\"}\n{\"text\":\"fg\"}\n");
  const auto batches = load_sequences(path, {}, ByteTokenizer(), {.seq_len = 4, .pack = false});
  ASSERT_EQ(batches.sequences.size(), 2u);
  EXPECT_EQ(text_of(batches.sequences[0]), "abcd");
  EXPECT_EQ(text_of(batches.sequences[1]), "fg");
  EXPECT_EQ(batches.bytes, 6);
}

TEST_F(Corpus, DrawnSequencesDependOnTheSeedAlone) {
  std::string text;
  for (char c = 'a'; c <= 'z'; ++c) text += std::string(4, c);
  const auto path = file("a.txt", text);
  const auto draw = [&](std::uint64_t seed) {
    return load_sequences(path, {}, ByteTokenizer(), {.seq_len = 4, .samples = 8, .shuffle = true, .seed = seed});
  };
  const auto first = draw(1);
  EXPECT_EQ(first.sequences, draw(1).sequences);
  EXPECT_NE(first.sequences, draw(2).sequences);
  const std::set<std::vector<TokenId>> distinct(first.sequences.begin(), first.sequences.end());
  EXPECT_EQ(distinct.size(), 8u) << "drawn without repetition";
  EXPECT_TRUE(std::any_of(distinct.begin(), distinct.end(), [](const auto& ids) { return ids[0] > 'h'; }))
      << "from the whole corpus, not from its head";
}

TEST_F(Corpus, BosStandsInFrontAndEntersNoStatistic) {
  ByteTokenizer tokenizer;
  const auto path = file("a.txt", "abcd");
  const auto batches = load_sequences(path, {}, tokenizer, {.seq_len = 2, .prepend_bos = true});
  ASSERT_EQ(batches.sequences.size(), 2u);
  EXPECT_EQ(batches.sequences[0], (std::vector<TokenId>{1, 'a', 'b'}));
  EXPECT_EQ(batches.skip_first, 1);
  EXPECT_EQ(batches.tokens(), 4) << "of the text";
  EXPECT_EQ(batches.positions(), 6);
  tokenizer.has_bos = false;
  EXPECT_ERROR(load_sequences(path, {}, tokenizer, {.seq_len = 2, .prepend_bos = true}), mismatch, "no BOS");
}

TEST_F(Corpus, TooLittleTextSaysHowMuchThereIsAndIsNeeded) {
  const auto path = file("a.txt", "abcdefghi");
  EXPECT_ERROR(load_sequences(path, {}, ByteTokenizer(), {.seq_len = 4, .samples = 3}), resource,
               "needs 3 sequences of 4 = 12 tokens; " + path.string() + " has 9");
  EXPECT_ERROR(load_sequences(path, {}, ByteTokenizer(), {.seq_len = 10}), resource, "has 9");
  EXPECT_ERROR(load_sequences(path, {}, ByteTokenizer(), {.seq_len = 4, .samples = 2, .pack = false}), resource,
               "needs 2 documents");
  EXPECT_ERROR(load_split(path, {}, ByteTokenizer(), {.seq_len = 4, .samples = 2}, 1), resource, "has 5");
  EXPECT_ERROR(load_split(path, {}, ByteTokenizer(), {.seq_len = 4, .samples = 2, .when_short = "take fewer"}, 1),
               resource, "has 5, enough for 1; take fewer");
}

TEST_F(Corpus, SplitSharesNoDocument) {
  std::string lines;
  for (char c = 'a'; c <= 'z'; ++c) lines += std::string("{\"text\":\"") + std::string(6, c) + "\"}\n";
  const auto path = file("a.jsonl", lines);
  const auto split = load_split(path, {}, ByteTokenizer(), {.seq_len = 4, .seed = 3}, 5);
  EXPECT_EQ(split.validation.sequences.size(), 5u);
  EXPECT_GE(split.training.sequences.size(), 25u);
  std::set<TokenId> training, validation;
  for (const auto& ids : split.training.sequences) training.insert(ids.begin(), ids.end());
  for (const auto& ids : split.validation.sequences) validation.insert(ids.begin(), ids.end());
  for (const TokenId id : validation) EXPECT_FALSE(training.contains(id)) << static_cast<char>(id);
  const auto again = load_split(path, {}, ByteTokenizer(), {.seq_len = 4, .seed = 3}, 5);
  EXPECT_EQ(split.validation.digest, again.validation.digest);
}

TEST_F(Corpus, SplitOfManyReadsNoMoreThanItNeeds) {
  std::string lines;
  for (int i = 0; i < 20; ++i) lines += "{\"text\":\"abcdefgh\"}\n";
  const auto split =
      load_split(file("a.jsonl", lines + "not json\n"), {}, ByteTokenizer(), {.seq_len = 4, .samples = 6}, 2);
  EXPECT_EQ(split.training.sequences.size(), 6u);
  EXPECT_EQ(split.validation.sequences.size(), 2u);
}

TEST_F(Corpus, OneDocumentHoldsItsTailOut) {
  const auto split = load_split(file("a.txt", "abcdefghijkl"), {}, ByteTokenizer(), {.seq_len = 3}, 2);
  ASSERT_EQ(split.validation.sequences.size(), 2u);
  EXPECT_EQ(text_of(split.validation.sequences[0]), "ghi");
  EXPECT_EQ(text_of(split.validation.sequences[1]), "jkl");
  ASSERT_EQ(split.training.sequences.size(), 2u);
  EXPECT_EQ(text_of(split.training.sequences[1]), "def");
}

TEST(TokenRange, NamesTheIdAndItsSequence) {
  TokenBatches batches;
  batches.sequences = {{1, 2}, {3, 49152}};
  check_token_range(batches, 49153);
  EXPECT_ERROR(check_token_range(batches, 49152), mismatch,
               "token id 49152 (sequence 1) is outside the embedding's 49152 rows");
}

// The windows that ../shared/yardsticks measured are ours too. The tokenizer is that of SmolLM2-135M, which is made by
// ../shared/tools/real_models.py and not part of the folder: STREAMLINE_SMOLLM2 says where it lies.
TEST(Yardstick, ReadsTheSameTokens) {
  REQUIRE_SHARED("yardsticks/smollm2-135m/yardstick.json");
  const char* model = std::getenv("STREAMLINE_SMOLLM2");
  if (model == nullptr) GTEST_SKIP() << "STREAMLINE_SMOLLM2 does not name the folder of SmolLM2-135M-Instruct";
  const auto tokenizer = open_tokenizer(*open_directory(model));
  const Json yardstick =
      parse_json(read_text(test::shared_folder() / "yardsticks/smollm2-135m/yardstick.json"), "yardstick.json");
  const auto sum = [](const TokenBatches& batches) {
    std::int64_t total = 0;
    for (const auto& ids : batches.sequences) total = std::accumulate(ids.begin(), ids.end(), total);
    return total;
  };
  const Json& calibration = yardstick.at("calibration");
  const auto windows = load_sequences(test::shared_folder() / "data" / calibration.at("file").get<std::string>(), {},
                                      *tokenizer, {.seq_len = 512, .samples = 32});
  const auto first_ids = calibration.at("first_ids").get<std::vector<TokenId>>();
  EXPECT_TRUE(std::equal(first_ids.begin(), first_ids.end(), windows.sequences[0].begin()));
  EXPECT_EQ(sum(windows), calibration.at("sum_of_ids").get<std::int64_t>());
  for (const auto& [name, text] : yardstick.at("texts").items()) {
    const auto count = static_cast<std::int64_t>(text.at("dense").size());
    const auto batches = load_sequences(test::shared_folder() / "data" / text.at("file").get<std::string>(), {},
                                        *tokenizer, {.seq_len = 512, .samples = count});
    EXPECT_EQ(sum(batches), text.at("sum_of_ids").get<std::int64_t>()) << name;
  }
}

}  // namespace
}  // namespace streamline
