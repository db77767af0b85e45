// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/gguf_special_tokens.h"

#include <algorithm>

#include "streamline/base/json.h"

namespace streamline {
namespace {

Json read_object(const FileSet& files, const std::string& name) {
  if (!files.contains(name)) return Json::object();
  Json value = parse_json(files.open(name).text(), files.label() + "/" + name);
  return value.is_object() ? value : Json::object();
}

// "eos_token": "</s>", or an object with its content.
std::string token_content(const Json& settings, const std::string& key) {
  const auto found = settings.find(key);
  if (found == settings.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_object() || !found->contains("content") || !(*found)["content"].is_string()) return {};
  return (*found)["content"].get<std::string>();
}

std::optional<std::int64_t> id_in(const Json& config, const std::string& key) {
  const auto found = config.find(key);
  if (found == config.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<std::int64_t>();
}

// An added token that tokenizer_config.json names (SentencePiece has none of its own), else the id in config.json.
std::optional<std::int64_t> find_id(const PipelineParts& parts, const Json& settings, const Json& config,
                                    const std::string& kind) {
  if (const std::string content = token_content(settings, kind + "_token"); !content.empty() && parts.scores.empty())
    for (const AddedToken& token : parts.added)
      if (token.content == content) return token.id;
  return id_in(config, kind + "_token_id");
}

void add_ids(const PipelineParts& parts, const Json& settings, const Json& config, std::int64_t vocab,
             GgufFields& fields) {
  struct Kind {
    const char* name;
    const char* key;
  };
  constexpr Kind kKinds[] = {{"bos", "tokenizer.ggml.bos_token_id"},     {"eos", "tokenizer.ggml.eos_token_id"},
                             {"unk", "tokenizer.ggml.unknown_token_id"}, {"sep", "tokenizer.ggml.seperator_token_id"},
                             {"pad", "tokenizer.ggml.padding_token_id"}, {"cls", "tokenizer.ggml.cls_token_id"},
                             {"mask", "tokenizer.ggml.mask_token_id"}};
  for (const Kind& kind : kKinds) {
    std::optional<std::int64_t> id = find_id(parts, settings, config, kind.name);
    if (!id && kind.name == std::string_view("bos") && parts.bos) id = *parts.bos;
    if (!id && kind.name == std::string_view("eos") && parts.eos) id = *parts.eos;
    if (id && *id >= 0 && *id < vocab) fields.u32(kind.key, *id);
  }
}

// The template in a file of its own, or in tokenizer_config.json; there may be several by name, one of them "default".
void add_chat_template(const FileSet& files, const Json& settings, GgufFields& fields) {
  constexpr const char* kKey = "tokenizer.chat_template";
  Json found = settings.contains("chat_template") ? settings["chat_template"] : Json(nullptr);
  if (found.is_null() && files.contains("chat_template.jinja"))
    found = std::string(files.open("chat_template.jinja").text());
  if (found.is_null()) {
    const Json file = read_object(files, "chat_template.json");
    if (file.contains("chat_template")) found = file["chat_template"];
  }
  if (found.is_string() && !found.get_ref<const std::string&>().empty())
    fields.string(kKey, found.get_ref<const std::string&>());
  if (!found.is_array()) return;
  std::vector<std::string> names;
  for (const Json& entry : found) {
    const std::string name = token_content(entry, "name"), text = token_content(entry, "template");
    if (name.empty() || text.empty()) continue;
    if (name != "default") names.push_back(name);
    fields.string(name == "default" ? kKey : std::string(kKey) + "." + name, text);
  }
  fields.strings("tokenizer.chat_templates", names);
}

}  // namespace

void add_gguf_special_tokens(const FileSet& files, const PipelineParts& parts, std::int64_t vocab, GgufFields& fields) {
  const Json settings = read_object(files, "tokenizer_config.json"), config = read_object(files, "config.json");
  add_ids(parts, settings, config, vocab, fields);
  const bool bos = parts.bos && std::find(parts.prefix.begin(), parts.prefix.end(), *parts.bos) != parts.prefix.end();
  const bool eos = parts.eos && std::find(parts.suffix.begin(), parts.suffix.end(), *parts.eos) != parts.suffix.end();
  fields.boolean("tokenizer.ggml.add_bos_token", bos);
  fields.boolean("tokenizer.ggml.add_eos_token", eos);
  add_chat_template(files, settings, fields);
}

}  // namespace streamline
