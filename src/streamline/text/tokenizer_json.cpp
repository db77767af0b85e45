// SPDX-License-Identifier: Apache-2.0
// tokenizer.json and its predecessor, vocab.json with merges.txt.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "streamline/base/error.h"
#include "streamline/text/bpe_model.h"
#include "streamline/text/json_pattern.h"
#include "streamline/text/tokenizer_formats.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

// Vocabularies are objects of 10^5 keys: the ordered JSON of base/json.h searches those one by one, this one does not.
using PlainJson = nlohmann::json;

constexpr int kDeepest = 64;

// Nesting that no tokenizer has would overflow the stack where values are copied.
void check_depth(std::string_view text, std::string_view where) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepest) fail(ErrorKind::format, where, ": nested deeper than ", kDeepest, " levels");
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

PlainJson parse_plain(std::string_view text, std::string_view where) {
  check_depth(text, where);
  try {
    PlainJson value = PlainJson::parse(text);
    if (!value.is_object()) fail(ErrorKind::format, where, ": expected an object at the top");
    return value;
  } catch (const PlainJson::exception& error) {
    const std::string_view what = error.what();
    fail(ErrorKind::format, where, ": not valid JSON: ", what.substr(std::min(what.size(), what.find("] ") + 2)));
  }
}

// Removes a key and returns its value; null when it is absent.
PlainJson take(PlainJson& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return nullptr;
  PlainJson value = std::move(*found);
  object.erase(found);
  return value;
}

void read_vocabulary(const PlainJson& vocabulary, PipelineParts& parts) {
  if (!vocabulary.is_object()) fail(ErrorKind::format, parts.where, ": the model has no object 'vocab'");
  for (const auto& [token, id] : vocabulary.items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > INT32_MAX)
      fail(ErrorKind::format, parts.where, ": token '", token, "' has the id ", id.dump().substr(0, 40));
    parts.tokens.set(static_cast<TokenId>(id.get<std::uint64_t>()), token, parts.where);
  }
}

Merge read_merge(const PlainJson& merge, const PipelineParts& parts) {
  if (merge.is_string()) return split_merge(merge.get_ref<const std::string&>(), parts);
  if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string())
    fail(ErrorKind::format, parts.where, ": the merge ", merge.dump().substr(0, 80), " is not a pair of tokens");
  return make_merge(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>(), parts);
}

BpeOptions read_bpe_options(const Json& model, const PipelineParts& parts) {
  const std::string where = parts.where + ": model";
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!json_string(model, key, where).value_or("").empty())
      fail(ErrorKind::unsupported, where, ": BPE with '", key, "' is not supported");
  if (json_number(model, "dropout", where).value_or(0) != 0)
    fail(ErrorKind::unsupported, where, ": BPE with dropout is not supported");
  BpeOptions options;
  options.byte_fallback = json_bool(model, "byte_fallback", where).value_or(false);
  options.ignore_merges = json_bool(model, "ignore_merges", where).value_or(false);
  options.fuse_unk = json_bool(model, "fuse_unk", where).value_or(false);
  if (const auto unk = json_string(model, "unk_token", where)) options.unk = parts.tokens.find(*unk).value_or(-1);
  return options;
}

void check_is_bpe(const Json& model, bool has_merges, const std::string& where) {
  // Files of the library's early versions do not name the type of their model.
  const std::string type = json_string(model, "type", where).value_or(has_merges ? "BPE" : "without a type");
  if (type != "BPE")
    fail(ErrorKind::unsupported, where, ": the model '", type, "' is not supported (BPE is); ",
         "a tokenizer.model of SentencePiece in its place is read");
}

TokenId token_id(const Json& value, std::string_view where) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() <= INT32_MAX) return value.get<TokenId>();
  fail(ErrorKind::format, where, ": the post-processor has ", value.dump().substr(0, 40), " where an id should be");
}

// {"Sequence": …} stands for the text, {"SpecialToken": {"id": "<s>"}} for ids listed under "special_tokens".
void read_template(const Json& description, PipelineParts& parts, std::vector<TokenId>& before,
                   std::vector<TokenId>& after) {
  bool text_seen = false;
  for (const Json& item : json_array(description, "single", parts.where)) {
    if (item.contains("Sequence")) {
      text_seen = true;
      continue;
    }
    if (!item.contains("SpecialToken"))
      fail(ErrorKind::format, parts.where, ": the post-processor has an unknown item");
    const std::string name = required_string(item["SpecialToken"], "id", parts.where);
    const auto tokens = description.find("special_tokens");
    if (tokens == description.end() || !tokens->is_object() || !tokens->contains(name))
      fail(ErrorKind::format, parts.where, ": the post-processor does not say which ids '", name, "' has");
    for (const Json& id : json_array((*tokens)[name], "ids", parts.where))
      (text_seen ? after : before).push_back(token_id(id, parts.where));
  }
}

// ["</s>", 2]
TokenId named_id(const Json& description, const char* key, const std::string& where) {
  const Json& pair = json_array(description, key, where);
  if (pair.size() != 2) fail(ErrorKind::format, where, ": the post-processor's '", key, "' is not a token and its id");
  return token_id(pair[1], where);
}

void read_post_processor(const Json& description, PipelineParts& parts) {
  if (description.is_null()) return;
  const std::string type = required_string(description, "type", parts.where);
  std::vector<TokenId> before, after;
  if (type == "Sequence") {
    for (const Json& step : json_array(description, "processors", parts.where)) read_post_processor(step, parts);
  } else if (type == "TemplateProcessing") {
    read_template(description, parts, before, after);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    before = {named_id(description, "cls", parts.where)};
    after = {named_id(description, "sep", parts.where)};
  } else if (type != "ByteLevel") {
    fail(ErrorKind::unsupported, parts.where, ": the post-processor '", type, "' is not supported");
  }
  parts.prefix.insert(parts.prefix.begin(), before.begin(), before.end());
  parts.suffix.insert(parts.suffix.end(), after.begin(), after.end());
}

void read_added(const Json& document, PipelineParts& parts) {
  const auto found = document.find("added_tokens");
  if (found == document.end() || !found->is_array()) return;
  for (const Json& description : *found) parts.add(read_added_token(description, parts.where));
}

Json part_of(const Json& document, const char* key) {
  const auto found = document.find(key);
  return found == document.end() ? Json(nullptr) : *found;
}

// "#version: 0.2", then a merge a line.
std::vector<Merge> read_merges_text(std::string_view text, const PipelineParts& parts) {
  std::vector<Merge> merges;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with("#version")) merges.push_back(split_merge(line, parts));
  }
  return merges;
}

}  // namespace

PipelineParts read_tokenizer_json(std::string_view text, const std::string& where) {
  PlainJson plain = parse_plain(text, where);
  PlainJson plain_model = take(plain, "model");
  if (!plain_model.is_object()) fail(ErrorKind::format, where, ": has no object 'model'");
  const PlainJson merges = take(plain_model, "merges"), vocabulary = take(plain_model, "vocab");
  const Json document(plain), model(plain_model);

  PipelineParts parts;
  parts.where = where;
  check_is_bpe(model, merges.is_array(), where);
  read_vocabulary(vocabulary, parts);
  if (!merges.is_array()) fail(ErrorKind::format, where, ": the model has no array 'merges'");
  std::vector<Merge> ranked;
  ranked.reserve(merges.size());
  for (const PlainJson& merge : merges) ranked.push_back(read_merge(merge, parts));
  parts.normalizer = make_normalizer(part_of(document, "normalizer"), where);
  parts.pre_tokenizers = make_pre_tokenizers(part_of(document, "pre_tokenizer"), where);
  parts.model = make_bpe(parts, ranked, read_bpe_options(model, parts));
  parts.merges = std::move(ranked);
  parts.decoder = make_decoder(part_of(document, "decoder"), where);
  read_added(document, parts);
  read_post_processor(part_of(document, "post_processor"), parts);
  for (const TokenId id : parts.prefix)
    if (id >= parts.tokens.size()) fail(ErrorKind::format, where, ": the post-processor's id ", id, " is no token");
  for (const TokenId id : parts.suffix)
    if (id >= parts.tokens.size()) fail(ErrorKind::format, where, ": the post-processor's id ", id, " is no token");
  if (parts.prefix.size() == 1) parts.bos = parts.prefix.front();
  return parts;
}

PipelineParts read_vocab_and_merges(const FileSet& files, const TokenizerSettings& settings) {
  PipelineParts parts;
  parts.where = files.label() + "/vocab.json";
  read_vocabulary(parse_plain(files.open("vocab.json").text(), parts.where), parts);
  const std::string merges = std::string(files.open("merges.txt").text());
  check_utf8(merges, files.label() + "/merges.txt");
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", settings.add_prefix_space.value_or(false)}};
  parts.pre_tokenizers = make_pre_tokenizers(byte_level, parts.where);
  parts.decoder = byte_level_decoder();
  parts.merges = read_merges_text(merges, parts);
  parts.model = make_bpe(parts, parts.merges, {});
  if (const auto end =
          parts.tokens.find("<|endoftext|>")) {  // GPT-2's only special token, unless the settings know better
    parts.add({.id = *end, .content = "<|endoftext|>", .special = true});
    parts.bos = parts.eos = end;
  }
  return parts;
}

}  // namespace streamline
