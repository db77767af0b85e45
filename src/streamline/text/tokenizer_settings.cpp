// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/tokenizer_settings.h"

#include <algorithm>
#include <charconv>

#include "streamline/base/error.h"
#include "streamline/text/json_pattern.h"

namespace streamline {
namespace {

struct NamedJson {
  std::string where;
  Json value;
};

std::optional<NamedJson> read_json(const FileSet& files, const std::string& name) {
  if (!files.contains(name)) return std::nullopt;
  NamedJson json{.where = files.label() + "/" + name, .value = nullptr};
  json.value = parse_json(files.open(name).text(), json.where);
  if (!json.value.is_object()) fail(ErrorKind::format, json.where, ": expected an object at the top");
  return json;
}

// "bos_token": "<s>", or an object with its content.
std::optional<std::string> token_string(const NamedJson& json, const char* key) {
  const auto found = json.value.find(key);
  if (found == json.value.end()) return std::nullopt;
  return found->is_object() ? json_string(*found, "content", json.where) : json_string(json.value, key, json.where);
}

void read_token_strings(const NamedJson& json, TokenizerSettings& settings) {
  const auto take = [&](std::optional<std::string>& slot, const char* key) {
    if (!slot) slot = token_string(json, key);
  };
  take(settings.bos, "bos_token");
  take(settings.eos, "eos_token");
  take(settings.unk, "unk_token");
}

TokenId read_id(const std::string& key, std::string_view where) {
  TokenId id = -1;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error != std::errc() || end != key.data() + key.size() || id < 0)
    fail(ErrorKind::format, where, ": added_tokens_decoder has the key '", key, "'; expected a token id");
  return id;
}

void read_config(const NamedJson& json, TokenizerSettings& settings) {
  read_token_strings(json, settings);
  settings.add_bos = json_bool(json.value, "add_bos_token", json.where);
  settings.add_eos = json_bool(json.value, "add_eos_token", json.where);
  settings.legacy = json_bool(json.value, "legacy", json.where);
  settings.add_prefix_space = json_bool(json.value, "add_prefix_space", json.where);
  settings.tokenizer_class = json_string(json.value, "tokenizer_class", json.where).value_or("");
  const auto decoder = json.value.find("added_tokens_decoder");
  if (decoder == json.value.end() || !decoder->is_object()) return;
  for (const auto& [key, description] : decoder->items()) {
    AddedToken token = read_added_token(description, json.where);
    token.id = read_id(key, json.where);
    settings.added.push_back(std::move(token));
  }
}

// {"<|im_end|>": 32001}
void read_added_tokens(const NamedJson& json, TokenizerSettings& settings) {
  for (const auto& [content, id] : json.value.items()) {
    const auto same = [&name = content](const AddedToken& token) { return token.content == name; };
    if (std::any_of(settings.added.begin(), settings.added.end(), same)) continue;
    AddedToken token;
    token.content = content;
    token.id = static_cast<TokenId>(
        std::clamp<std::int64_t>(json_integer(json.value, content, json.where).value_or(-1), -1, INT32_MAX));
    settings.added.push_back(std::move(token));
  }
}

}  // namespace

AddedToken read_added_token(const Json& description, std::string_view where) {
  AddedToken token;
  token.content = required_string(description, "content", where);
  const auto id = json_integer(description, "id", where);
  if (id && (*id < 0 || *id > INT32_MAX))
    fail(ErrorKind::format, where, ": token '", token.content, "' has the id ", *id);
  token.id = static_cast<TokenId>(id.value_or(-1));
  token.single_word = json_bool(description, "single_word", where).value_or(false);
  token.lstrip = json_bool(description, "lstrip", where).value_or(false);
  token.rstrip = json_bool(description, "rstrip", where).value_or(false);
  token.special = json_bool(description, "special", where).value_or(false);
  token.normalized = json_bool(description, "normalized", where).value_or(!token.special);
  return token;
}

TokenizerSettings read_settings(const FileSet& files) {
  TokenizerSettings settings;
  if (const auto json = read_json(files, "tokenizer_config.json")) read_config(*json, settings);
  if (const auto json = read_json(files, "special_tokens_map.json")) read_token_strings(*json, settings);
  if (const auto json = read_json(files, "added_tokens.json")) read_added_tokens(*json, settings);
  return settings;
}

void apply_settings(const TokenizerSettings& settings, PipelineParts& parts) {
  const auto is_added = [&](const std::string& content) {
    return std::any_of(parts.added.begin(), parts.added.end(),
                       [&](const AddedToken& token) { return token.content == content; });
  };
  for (const AddedToken& token : settings.added)
    if (!is_added(token.content)) parts.add(token);
  const auto special = [&](const std::optional<std::string>& content) -> std::optional<TokenId> {
    if (!content || !parts.tokens.find(*content)) return std::nullopt;
    if (!is_added(*content)) parts.add({.content = *content, .special = true});
    return parts.tokens.find(*content);
  };
  if (const auto id = special(settings.bos)) parts.bos = id;
  if (const auto id = special(settings.eos)) parts.eos = id;
  special(settings.unk);
  if (!settings.add_bos && !settings.add_eos) return;
  parts.prefix.clear();
  parts.suffix.clear();
  if (settings.add_bos.value_or(false) && parts.bos) parts.prefix = {*parts.bos};
  if (settings.add_eos.value_or(false) && parts.eos) parts.suffix = {*parts.eos};
}

}  // namespace streamline
