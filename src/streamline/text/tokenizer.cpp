// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/tokenizer.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/text/tokenizer_formats.h"

namespace streamline {
namespace {

PipelineParts read_model_file(const FileSet& files, const std::string& name, const TokenizerSettings& settings) {
  const Blob blob = files.open(name);
  const std::string where = files.label() + "/" + name;
  if (is_tiktoken(blob.text())) return read_tiktoken(blob.text(), where, settings);
  return read_sentencepiece(blob.text(), where, settings);
}

PipelineParts read_parts(const FileSet& files, const TokenizerSettings& settings) {
  if (files.contains("tokenizer.json")) {
    const Blob blob = files.open("tokenizer.json");
    try {
      return read_tokenizer_json(blob.text(), files.label() + "/tokenizer.json");
    } catch (const Error& error) {
      // Converted files get damaged (a no-break space in a merge turned into a blank); the original is as good.
      if (!files.contains("tokenizer.model")) throw;
      log_warning(std::string(error.what()) + "; reading tokenizer.model instead");
    }
  }
  if (files.contains("tokenizer.model")) return read_model_file(files, "tokenizer.model", settings);
  if (files.contains("vocab.json") && files.contains("merges.txt")) return read_vocab_and_merges(files, settings);
  for (const std::string& name : files.names())
    if (name.ends_with(".tiktoken")) return read_model_file(files, name, settings);
  fail(ErrorKind::io, files.label(), ": no tokenizer: expected tokenizer.json, tokenizer.model, vocab.json with ",
       "merges.txt, or a GGUF file");
}

}  // namespace

bool has_tokenizer(const FileSet& files) {
  if (files.contains("tokenizer.json") || files.contains("tokenizer.model") || files.contains("vocab.json"))
    return true;
  const std::vector<std::string> names = files.names();
  return std::any_of(names.begin(), names.end(), [](const std::string& name) { return name.ends_with(".tiktoken"); });
}

PipelineParts read_tokenizer(const FileSet& files) {
  const TokenizerSettings settings = read_settings(files);
  PipelineParts parts = read_parts(files, settings);
  apply_settings(settings, parts);
  return parts;
}

std::string decode_after(const Tokenizer& tokenizer, std::span<const TokenId> before, std::span<const TokenId> ids) {
  constexpr std::size_t kContext = 16;  // what is further away makes no difference, and a prompt may be long
  before = before.last(std::min(before.size(), kContext));
  std::vector<TokenId> both(before.begin(), before.end());
  both.insert(both.end(), ids.begin(), ids.end());
  const std::string start = tokenizer.decode(before, true), all = tokenizer.decode(both, true);
  return all.starts_with(start) ? all.substr(start.size()) : tokenizer.decode(ids, true);
}

std::string excess_of_tokens(std::int64_t tokens, std::int64_t rows) {
  if (tokens <= rows) return {};
  return "has " + std::to_string(tokens) + " tokens, more than the embedding's " + std::to_string(rows) + " rows";
}

std::string shortage_of_tokens(std::int64_t tokens, std::int64_t rows) {
  if (2 * tokens >= rows) return {};
  return "has " + std::to_string(tokens) + " tokens, the embedding " + std::to_string(rows) +
         " rows: is it another model's? Then what is measured here means nothing";
}

std::unique_ptr<Tokenizer> open_tokenizer(const FileSet& files) {
  if (const std::string gguf = has_tokenizer(files) ? "" : find_gguf(files); !gguf.empty())
    return make_pipeline(read_gguf_tokenizer(open_gguf(files, gguf).front().gguf));
  return make_pipeline(read_tokenizer(files));
}

}  // namespace streamline
