// SPDX-License-Identifier: Apache-2.0
#include "tests/support/core/expect.h"
#include "tests/text/tiny_tokenizer.h"

namespace streamline {
namespace {

using test::open_json;
using test::tiny_tokenizer_json;
using test::tiny_with;
using Ids = std::vector<TokenId>;

// The strings of the tokens of a text, with bars between them.
std::string cut(const Tokenizer& tokenizer, std::string_view text) {
  std::string parts;
  for (const TokenId id : tokenizer.encode(text, false))
    parts += (parts.empty() ? "" : "|") + tokenizer.decode(std::vector{id}, false);
  return parts;
}

TEST(Bpe, JoinsThePairOfLowestRankFirst) {
  const auto tokenizer = open_json(tiny_tokenizer_json());
  EXPECT_EQ(cut(*tokenizer, "abc"), "abc");
  EXPECT_EQ(cut(*tokenizer, "abcd"), "abc|d") << "ab, then abc (rank 1) before cd (rank 2)";
  EXPECT_EQ(cut(*tokenizer, "bcd"), "b|cd");
  EXPECT_EQ(tokenizer->encode("abcd", false), (Ids{11, 4}));
}

TEST(Bpe, MakesEachUnknownCharacterTheUnknownToken) {
  EXPECT_EQ(open_json(tiny_tokenizer_json())->encode("axya", false), (Ids{1, 0, 0, 1}));
}

TEST(Bpe, FusesUnknownCharactersWhenAsked) {
  Json document = tiny_tokenizer_json();
  document["model"]["fuse_unk"] = true;
  EXPECT_EQ(open_json(document)->encode("axya", false), (Ids{1, 0, 1}));
}

TEST(Bpe, LeavesUnknownCharactersOutWithoutAnUnknownToken) {
  Json document = tiny_tokenizer_json();
  document["model"]["unk_token"] = nullptr;
  EXPECT_EQ(open_json(document)->encode("axya", false), (Ids{1, 1}));
}

TEST(Bpe, FallsBackToBytesOnlyWhereTheVocabularyHasThem) {
  Json document = tiny_tokenizer_json();
  document["model"]["byte_fallback"] = true;
  document["model"]["vocab"]["<0xC3>"] = 19;
  document["model"]["vocab"]["<0xB6>"] = 20;
  const auto tokenizer = open_json(document);
  EXPECT_EQ(tokenizer->encode("aöa", false), (Ids{1, 19, 20, 1}));
  EXPECT_EQ(tokenizer->encode("aüa", false), (Ids{1, 0, 1})) << "U+00FC ends in 0xBC, which is not there";
}

TEST(Bpe, TakesWholeWordsWhenMergesAreIgnored) {
  Json document = tiny_tokenizer_json();
  document["model"]["vocab"]["bcd"] = 19;
  EXPECT_EQ(open_json(document)->encode("bcd", false), (Ids{2, 12}));
  document["model"]["ignore_merges"] = true;
  EXPECT_EQ(open_json(document)->encode("bcd", false), (Ids{19}));
}

struct SplitCase {
  const char *behavior, *expected, *inverted;
};

class SplitBehavior : public testing::TestWithParam<SplitCase> {};

// Cut at ' ' the text "a  b c" (two blanks); what the tokenizers library documents for its behaviours.
TEST_P(SplitBehavior, IsThatOfTheTokenizersLibrary) {
  const auto with = [](const char* behavior, bool invert) {
    Json document = tiny_tokenizer_json();
    // Every piece that is more than one token long would hide the cuts, so that pieces are made tokens.
    for (const char* piece : {"a ", " b", "b ", " c", "  ", "a  ", "  b", "a b"}) {
      const auto next = static_cast<int>(document["model"]["vocab"].size());
      document["model"]["vocab"][piece] = next;
    }
    document["model"]["ignore_merges"] = true;
    document["pre_tokenizer"] = {
        {"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", behavior}, {"invert", invert}};
    return cut(*open_json(document), "a  b c");
  };
  EXPECT_EQ(with(GetParam().behavior, false), GetParam().expected);
  EXPECT_EQ(with(GetParam().behavior, true), GetParam().inverted);
}

INSTANTIATE_TEST_SUITE_P(All, SplitBehavior,
                         testing::Values(SplitCase{"Removed", "a|b|c", " | | "},
                                         SplitCase{"Isolated", "a| | |b| |c", "a| | |b| |c"},
                                         SplitCase{"MergedWithPrevious", "a | |b |c", "a| | b| c"},
                                         SplitCase{"MergedWithNext", "a| | b| c", "a | |b |c"},
                                         SplitCase{"Contiguous", "a|  |b| |c", "a|  |b| |c"}),
                         [](const auto& info) { return std::string(info.param.behavior); });

TEST(PreTokenizer, CutsDigitsOneByOneOrTogether) {
  Json document = tiny_tokenizer_json();
  document["model"]["vocab"]["12"] = 19;
  document["model"]["ignore_merges"] = true;
  document["pre_tokenizer"] = {{"type", "Digits"}, {"individual_digits", true}};
  EXPECT_EQ(cut(*open_json(document), "a12"), "a|1|2");
  document["pre_tokenizer"]["individual_digits"] = false;
  EXPECT_EQ(cut(*open_json(document), "a12"), "a|12");
}

TEST(PreTokenizer, MetaspacePutsItsPrefixWhereTheSchemeSays) {
  const auto with = [](const char* scheme) {
    return test::tiny_with("pre_tokenizer", std::string(R"({"type":"Metaspace","replacement":"▁","prepend_scheme":")") +
                                                scheme + R"(","split":false})");
  };
  EXPECT_EQ(cut(*with("always"), "a b"), "▁a|▁|b");
  EXPECT_EQ(cut(*with("never"), "a b"), "a|▁|b");
  EXPECT_EQ(cut(*with("first"), " a"), "▁a") << "a text that begins with a blank has its prefix already";
}

TEST(PreTokenizer, SequenceRunsItsStepsInOrder) {
  const auto tokenizer = tiny_with("pre_tokenizer", R"({"type":"Sequence","pretokenizers":[
      {"type":"WhitespaceSplit"},{"type":"Punctuation","behavior":"Isolated"}]})");
  EXPECT_EQ(cut(*tokenizer, "ab! \n c."), "ab|!|c|.");
}

TEST(Normalizer, RewritesTheTextBeforeTheModelSeesIt) {
  EXPECT_EQ(cut(*tiny_with("normalizer", R"({"type":"Lowercase"})"), "ABC"), "abc");
  EXPECT_EQ(cut(*tiny_with("normalizer", R"({"type":"NFC"})"), "e\u0301"), "é");
  EXPECT_EQ(
      cut(*tiny_with("normalizer", R"({"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"}]})"),
          "é"),
      "e");
  EXPECT_EQ(cut(*tiny_with("normalizer", R"({"type":"Strip","strip_left":true,"strip_right":false})"), " a "), "a| ");
  EXPECT_EQ(cut(*tiny_with("normalizer", R"({"type":"Prepend","prepend":"▁"})"), "a"), "▁a");
  EXPECT_EQ(cut(*tiny_with("normalizer", R"({"type":"Replace","pattern":{"Regex":"[xy]+"},"content":"a"})"), "xyb"),
            "ab");
}

// A tokenizer that knows "<t>", found as the flags say.
std::unique_ptr<Tokenizer> with_added(const Json& flags) {
  Json document = tiny_tokenizer_json();
  Json token = {{"id", 19},        {"content", "<t>"},    {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", true}};
  token.update(flags);
  document["added_tokens"].push_back(token);
  return open_json(document);
}

TEST(AddedTokens, AreFoundAnywhereInTheText) {
  EXPECT_EQ(with_added(Json::object())->encode("ab<t>c<t>", false), (Ids{10, 19, 3, 19}));
}

TEST(AddedTokens, TakeWhiteSpaceWithThemWhenTheyStrip) {
  EXPECT_EQ(with_added({{"lstrip", true}})->encode("a  <t> b", false), (Ids{1, 19, 6, 2}));
  EXPECT_EQ(with_added({{"rstrip", true}})->encode("a <t>\n b", false), (Ids{1, 6, 19, 2}));
}

TEST(AddedTokens, MayHaveToStandAlone) {
  const Json single = {{"single_word", true}, {"content", "ee"}};
  EXPECT_EQ(with_added(single)->encode("ee aee", false), (Ids{19, 6, 1, 5, 5}));
}

TEST(AddedTokens, TheLongestOfSeveralWins) {
  Json document = tiny_tokenizer_json();
  document["added_tokens"] = {{{"id", 19}, {"content", "aa"}, {"special", false}, {"normalized", false}},
                              {{"id", 20}, {"content", "aaaa"}, {"special", false}, {"normalized", false}}};
  EXPECT_EQ(open_json(document)->encode("aaaaaaa", false), (Ids{20, 19, 1}));
}

TEST(AddedTokens, NormalizedOnesAreFoundInTheNormalizedText) {
  Json document = tiny_tokenizer_json();
  document["normalizer"] = {{"type", "Lowercase"}};
  document["added_tokens"] = {{{"id", 19}, {"content", "BED"}, {"special", false}, {"normalized", true}},
                              {{"id", 20}, {"content", "CAB"}, {"special", false}, {"normalized", false}}};
  const auto tokenizer = open_json(document);
  EXPECT_EQ(tokenizer->encode("bEdCAB", false), (Ids{19, 20}));
  EXPECT_EQ(tokenizer->encode("cab", false), (Ids{3, 10}));
}

TEST(AddedTokens, SpecialOnesAreLeftOutOnRequest) {
  const auto tokenizer = with_added(Json::object());
  EXPECT_EQ(tokenizer->decode(Ids{1, 19, 2}, false), "a<t>b");
  EXPECT_EQ(tokenizer->decode(Ids{1, 19, 2}, true), "ab");
}

TEST(PostProcessor, PutsItsTokensAroundTheText) {
  Json document = tiny_tokenizer_json();
  document["added_tokens"] = {{{"id", 19}, {"content", "<s>"}, {"special", true}}};
  document["post_processor"] = Json::parse(R"({"type":"TemplateProcessing",
      "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
                {"SpecialToken":{"id":"?","type_id":0}}],
      "special_tokens":{"<s>":{"id":"<s>","ids":[19],"tokens":["<s>"]},"?":{"id":"?","ids":[0],"tokens":["?"]}}})");
  const auto tokenizer = open_json(document);
  EXPECT_EQ(tokenizer->encode("a", true), (Ids{19, 1, 0}));
  EXPECT_EQ(tokenizer->encode("a", false), (Ids{1}));
  EXPECT_EQ(tokenizer->bos(), 19);
  EXPECT_TRUE(tokenizer->adds_bos());
}

TEST(Settings, SayWhichTokenIsBosAndWhetherItIsAdded) {
  Json document = tiny_tokenizer_json();
  document["added_tokens"] = {{{"id", 19}, {"content", "<s>"}, {"special", true}}};
  const auto silent = open_json(document, R"({"bos_token":"<s>","eos_token":{"content":"a"}})");
  EXPECT_EQ(silent->bos(), 19);
  EXPECT_EQ(silent->eos(), 1);
  EXPECT_FALSE(silent->adds_bos());
  const auto adding = open_json(document, R"({"bos_token":"<s>","add_bos_token":true})");
  EXPECT_TRUE(adding->adds_bos());
  EXPECT_EQ(adding->encode("a", true), (Ids{19, 1}));
}

TEST(Settings, BringAddedTokensOfTheirOwn) {
  const auto tokenizer = open_json(
      tiny_tokenizer_json(), R"({"added_tokens_decoder":{"25":{"content":"<x>","special":true,"normalized":false}}})");
  EXPECT_EQ(tokenizer->encode("a<x>", false), (Ids{1, 25}));
  EXPECT_EQ(tokenizer->vocab_size(), 26);
  EXPECT_EQ(tokenizer->own_size(), 19);  // what words become
}

TEST(Tokenizers, AreHeldAgainstTheRowsOfAnEmbedding) {
  EXPECT_EQ(excess_of_tokens(32, 32), "");
  EXPECT_EQ(excess_of_tokens(33, 32), "has 33 tokens, more than the embedding's 32 rows");
  EXPECT_EQ(shortage_of_tokens(16, 32), "");
  EXPECT_THAT(shortage_of_tokens(15, 32), testing::HasSubstr("has 15 tokens, the embedding 32 rows"));
}

TEST(Decoder, JoinsTokensWithBlanksWhenThereIsNone) {
  EXPECT_EQ(tiny_with("decoder", "null")->decode(Ids{10, 3}, false), "ab c");
}

TEST(Decoder, StepsRunInOrder) {
  const auto tokenizer = tiny_with("decoder", R"({"type":"Sequence","decoders":[
      {"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"Fuse"},
      {"type":"Strip","content":" ","start":1,"stop":0}]})");
  EXPECT_EQ(tokenizer->decode(Ids{13, 9, 9, 2}, false), "a  b");
}

TEST(Tokenizer, SaysWhereTextIsNotUtf8) {
  EXPECT_ERROR(open_json(tiny_tokenizer_json())->encode("ab\xC3", false), format, "not valid UTF-8 at byte 2");
}

TEST(Tokenizer, RefusesIdsThatItDoesNotHave) {
  const auto tokenizer = open_json(tiny_tokenizer_json());
  EXPECT_ERROR(tokenizer->decode(Ids{19}, false), mismatch, "token id 19");
  EXPECT_ERROR(tokenizer->decode(Ids{-1}, false), mismatch, "token id -1");
}

struct BrokenCase {
  const char* name;
  const char* part;  // a JSON pointer
  const char* value;
  ErrorKind kind;
  const char* message;
};

class BrokenTokenizer : public testing::TestWithParam<BrokenCase> {};

TEST_P(BrokenTokenizer, IsRefusedWithItsReason) {
  Json document = tiny_tokenizer_json();
  document[Json::json_pointer(GetParam().part)] = Json::parse(GetParam().value);
  try {
    open_json(document);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), GetParam().kind);
    EXPECT_THAT(error.what(), testing::HasSubstr(GetParam().message));
    EXPECT_THAT(error.what(), testing::HasSubstr("tiny/tokenizer.json"));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenTokenizer,
    testing::Values(
        BrokenCase{"UnknownModel", "/model/type", R"("WordPiece")", ErrorKind::unsupported, "'WordPiece'"},
        BrokenCase{"UnknownNormalizer", "/normalizer", R"({"type":"Precompiled"})", ErrorKind::unsupported,
                   "normalizer 'Precompiled'"},
        BrokenCase{"UnknownPreTokenizer", "/pre_tokenizer", R"({"type":"UnicodeScripts"})", ErrorKind::unsupported,
                   "pre-tokenizer 'UnicodeScripts'"},
        BrokenCase{"UnknownDecoder", "/decoder", R"({"type":"CTC"})", ErrorKind::unsupported, "decoder 'CTC'"},
        BrokenCase{"UnknownPostProcessor", "/post_processor", R"({"type":"Other"})", ErrorKind::unsupported, "'Other'"},
        BrokenCase{"Dropout", "/model/dropout", "0.1", ErrorKind::unsupported, "dropout"},
        BrokenCase{"Suffix", "/model/end_of_word_suffix", R"("</w>")", ErrorKind::unsupported, "end_of_word_suffix"},
        BrokenCase{"NegativeId", "/model/vocab/a", "-1", ErrorKind::format, "'a' has the id -1"},
        BrokenCase{"HugeId", "/model/vocab/a", "2000000000", ErrorKind::format, "2000000000"},
        BrokenCase{"FractionalId", "/model/vocab/a", "1.5", ErrorKind::format, "1.5"},
        BrokenCase{"VocabularyOfLists", "/model/vocab", "[]", ErrorKind::format, "'vocab'"},
        BrokenCase{"MergeOfOne", "/model/merges/0", R"("ab")", ErrorKind::format, "'ab' is not two tokens"},
        BrokenCase{"MergeOfThree", "/model/merges/0", R"(["a","b","c"])", ErrorKind::format, "not a pair"},
        BrokenCase{"MergeOfStrangers", "/model/merges/0", R"("a z")", ErrorKind::format,
                   "'z', which is not in the vocabulary"},
        BrokenCase{"MergeWithoutResult", "/model/merges/0", R"("b a")", ErrorKind::format, "'ba', which is not in the"},
        BrokenCase{"BadPattern", "/pre_tokenizer", R"({"type":"Split","pattern":{"Regex":"(a"}})", ErrorKind::format,
                   "pattern '(a'"},
        BrokenCase{"NoPattern", "/pre_tokenizer", R"({"type":"Split"})", ErrorKind::format, "'pattern'"},
        BrokenCase{"BadBehavior", "/pre_tokenizer", R"({"type":"Punctuation","behavior":"Odd"})", ErrorKind::format,
                   "'Odd'"},
        BrokenCase{"PostProcessorWithoutIds", "/post_processor",
                   R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}],"special_tokens":{}})",
                   ErrorKind::format, "'<s>'"},
        BrokenCase{"PostProcessorIdOutOfRange", "/post_processor",
                   R"({"type":"BertProcessing","sep":["x",5],"cls":["y",999]})", ErrorKind::format, "999"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Tokenizer, RefusesWhatIsNotJson) {
  const auto open = [](std::string text) {
    return open_tokenizer(*memory_files("tiny", {{"tokenizer.json", std::move(text)}}));
  };
  EXPECT_ERROR(open("{\"model\":"), format, "not valid JSON");
  EXPECT_ERROR(open("[]"), format, "expected an object");
  EXPECT_ERROR(open(""), format, "not valid JSON");
  EXPECT_ERROR(open("{\"model\": {\"id\": 5E999}}"), format, "number overflow");
  EXPECT_ERROR(open(std::string(100000, '[')), format, "nested deeper");
}

TEST(Tokenizer, SaysWhatIsMissingWhereThereIsNone) {
  EXPECT_ERROR(open_tokenizer(*memory_files("empty", {})), io, "expected tokenizer.json");
}

TEST(Tokenizer, ReadsVocabJsonWithMergesTxt) {
  const auto tokenizer =
      open_tokenizer(*memory_files("gpt", {{"vocab.json", R"({"a":0,"b":1,"Ġ":2,"Ġa":3,"<|endoftext|>":4})"},
                                           {"merges.txt", "#version: 0.2\nĠ a\n"}}));
  EXPECT_EQ(tokenizer->encode("b a<|endoftext|>", false), (Ids{1, 3, 4}));
  EXPECT_EQ(tokenizer->decode(Ids{1, 3, 4}, true), "b a");
  EXPECT_EQ(tokenizer->eos(), 4);
}

}  // namespace
}  // namespace streamline
