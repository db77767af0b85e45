// SPDX-License-Identifier: Apache-2.0
// Expected encodings of real tokenizers, from llama.cpp's and swift-transformers' test data.
// Not used, their tokenizers not being in the folder: chameleon, command-r, gemma-4 (llama.cpp); BERT, DistilBERT,
// Gemma, T5, Whisper (swift-transformers).
#include <sstream>

#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "streamline/text/tokenizer.h"
#include "tests/support/core/expect.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;
using test::shared_folder;

fs::path folder() { return shared_folder() / "tokenizers"; }

// Opens a folder of tokenizers/ or, with `file`, that file of it under the name `as`.
std::unique_ptr<Tokenizer> open_shared(const std::string& name, const std::string& file, const std::string& as) {
  if (file.empty()) return open_tokenizer(*open_directory(folder() / name));
  return open_tokenizer(*memory_files(name, {{as, read_text(folder() / name / file)}}));
}

struct VectorSet {
  const char* vectors;    // ggml-vocab-<vectors>.gguf.inp and .out
  const char* tokenizer;  // folder
  const char* file = "";
  const char* as = "";
};

std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  std::size_t start = 0;
  for (std::size_t at; (at = text.find(separator, start)) != text.npos; start = at + separator.size())
    parts.push_back(text.substr(start, at - start));
  parts.push_back(text.substr(start));
  return parts;
}

std::vector<TokenId> read_ids(const std::string& line) {
  std::istringstream in(line);
  std::vector<TokenId> ids;
  for (TokenId id; in >> id;) ids.push_back(id);
  return ids;
}

// ggml-vocab-<name>.gguf.inp against its .out.
void expect_llama_cpp_vectors(const std::string& name, const Tokenizer& tokenizer) {
  const fs::path base = folder() / "llama.cpp-vocab" / ("ggml-vocab-" + name + ".gguf");
  const auto texts = split(read_text(base.string() + ".inp"), "\n__ggml_vocab_test__\n");
  const auto lines = split(read_text(base.string() + ".out"), "\n");
  ASSERT_GE(texts.size(), 40u);
  ASSERT_GE(lines.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i)
    EXPECT_EQ(tokenizer.encode(texts[i], false), read_ids(lines[i])) << i << ": " << texts[i];
}

class LlamaCppVectors : public testing::TestWithParam<VectorSet> {};

TEST_P(LlamaCppVectors, AllMatch) {
  const VectorSet& set = GetParam();
  REQUIRE_SHARED(fs::path("tokenizers") / set.tokenizer / set.file);
  expect_llama_cpp_vectors(set.vectors, *open_shared(set.tokenizer, set.file, set.as));
}

INSTANTIATE_TEST_SUITE_P(
    All, LlamaCppVectors,
    testing::Values(VectorSet{"gpt-2", "gpt2"}, VectorSet{"falcon", "falcon-tokenizer"},
                    VectorSet{"mpt", "gpt-neox", "20B_tokenizer.json", "tokenizer.json"},  // MPT's is GPT-NeoX's
                    VectorSet{"phi-3", "phi-3-mini"}, VectorSet{"llama-spm", "llama2"},
                    VectorSet{"llama-spm", "llama2", "tokenizer.model", "tokenizer.model"},
                    VectorSet{"llama-bpe", "llama3"}, VectorSet{"qwen2", "qwen"},
                    VectorSet{"deepseek-r1-qwen", "qwen"},  // the same ranks and pattern, other special tokens
                    VectorSet{"roberta-bpe", "roberta-base_opt"},
                    VectorSet{"roberta-bpe", "roberta-base_opt", "tokenizer.json", "tokenizer.json"}),
    [](const auto& info) {
      std::string name = std::string(info.param.vectors) + "_" + info.param.tokenizer + "_" + info.param.file;
      for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

// The same vectors through the vocabulary inside the GGUF file.
class GgufVectors : public testing::TestWithParam<const char*> {};

TEST_P(GgufVectors, AllMatch) {
  const std::string file = std::string("ggml-vocab-") + GetParam() + ".gguf";
  REQUIRE_SHARED(fs::path("tokenizers") / "llama.cpp-vocab" / file);
  expect_llama_cpp_vectors(GetParam(), *open_shared("llama.cpp-vocab", file, file));
}

INSTANTIATE_TEST_SUITE_P(All, GgufVectors,
                         testing::Values("deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "llama-spm", "mpt",
                                         "phi-3", "refact", "starcoder"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

// tokenizer_tests.json: texts with their ids (special tokens added) and what these decode to.
struct HubCase {
  const char* key;
  const char* tokenizer;
  bool cleaned;  // its expected decodings went through transformers' clean_up_tokenization_spaces
};

std::string cleaned(std::string text) {
  for (const char* mark : {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"}) {
    const std::string spaced = std::string(" ") + mark;
    for (std::size_t at; (at = text.find(spaced)) != text.npos;) text.erase(at, 1);
  }
  return text;
}

class HubVectors : public testing::TestWithParam<HubCase> {};

TEST_P(HubVectors, AllMatch) {
  REQUIRE_SHARED(fs::path("tokenizers") / GetParam().tokenizer);
  const Json all = parse_json(read_text(folder() / "hf_expected" / "tokenizer_tests.json"), "tokenizer_tests.json");
  const auto tokenizer = open_shared(GetParam().tokenizer, "", "");
  ASSERT_FALSE(all.at(GetParam().key).empty());
  for (const Json& entry : all.at(GetParam().key)) {
    const auto ids = entry.at("encoded").at("input_ids").get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer->encode(entry.at("input").get<std::string>(), true), ids) << entry.at("input");
    for (const bool skip : {false, true}) {
      const std::string decoded = tokenizer->decode(ids, skip);
      const char* expected = skip ? "decoded_without_special" : "decoded_with_special";
      EXPECT_EQ(GetParam().cleaned ? cleaned(decoded) : decoded, entry.at(expected).get<std::string>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, HubVectors,
                         testing::Values(HubCase{"distilgpt2", "gpt2", true},
                                         HubCase{"coreml-projects/Llama-2-7b-chat-coreml", "llama2", false},
                                         HubCase{"tiiuae/falcon-7b", "falcon-tokenizer", true},
                                         HubCase{"pcuenq/Llama-3.2-1B-Instruct-tokenizer", "llama3", true}),
                         [](const auto& info) {
                           std::string name = info.param.tokenizer;
                           for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

// One longer text each, in files of their own.
struct PassageCase {
  const char* file;
  const char* tokenizer;
};

class Passages : public testing::TestWithParam<PassageCase> {};

TEST_P(Passages, Match) {
  REQUIRE_SHARED(fs::path("tokenizers") / GetParam().tokenizer);
  const Json passage = parse_json(read_text(folder() / "hf_expected" / GetParam().file), GetParam().file);
  const auto tokenizer = open_shared(GetParam().tokenizer, "", "");
  const auto ids = passage.at("token_ids").get<std::vector<TokenId>>();
  EXPECT_EQ(tokenizer->encode(passage.at("text").get<std::string>(), true), ids);
  EXPECT_EQ(tokenizer->decode(ids, false), passage.at("decoded_text").get<std::string>());
}

INSTANTIATE_TEST_SUITE_P(All, Passages,
                         testing::Values(PassageCase{"gpt2_encoded_tokens.json", "gpt2"},
                                         PassageCase{"llama_encoded.json", "llama2"},
                                         PassageCase{"falcon_encoded.json", "falcon-tokenizer"},
                                         PassageCase{"llama_3.2_encoded.json", "llama3"}),
                         [](const auto& info) {
                           std::string name = info.param.tokenizer;
                           for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

// What transformers 5.24's LlamaTokenizer makes of the shipped model's tokenizer.model, special tokens included; for
// texts that begin with a blank the ids are SentencePiece's own (transformers 5 lets that blank be the prefix).
TEST(BooksTokenizer, AgreesWithTransformersAndSentencePiece) {
  REQUIRE_SHARED("models/books-5m");
  const auto tokenizer = open_tokenizer(*open_directory(shared_folder() / "models" / "books-5m"));
  const std::vector<std::pair<std::string, std::vector<TokenId>>> cases = {
      {"Hello", {441, 289, 4034}},
      {" Hello", {4030, 441, 289, 4034}},
      {"  Hello", {1187, 441, 289, 4034}},
      {"</s>Hello", {2, 4062, 508, 4034}},
      {"</s> Hello", {2, 441, 289, 4034}},
      {"a</s>b <s> c", {261, 2, 4051, 4030, 1, 278}},
      {"\n", {4030, 13}},
      {"", {}},
      {"Hello world <unk> x", {441, 289, 4034, 930, 4030, 0, 4030, 4065}},
      {" Hello  world ﬁ \n x", {4030, 441, 289, 4034, 4030, 930, 4030, 242, 175, 132, 4030, 13, 4030, 4065}},
  };
  for (const auto& [text, ids] : cases) EXPECT_EQ(tokenizer->encode(text, false), ids) << text;
  EXPECT_EQ(tokenizer->encode("Hello", true), (std::vector<TokenId>{1, 441, 289, 4034}));
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->eos(), 2);
  EXPECT_EQ(tokenizer->vocab_size(), 4096);
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{1, 4030, 441, 289, 4034}, true), " Hello");
}

}  // namespace
}  // namespace streamline
