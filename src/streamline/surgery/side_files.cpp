// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/side_files.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

namespace streamline {

namespace {

constexpr std::array<std::string_view, 23> kNames = {
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "normalizer.json",
    "preprocessor_config.json",
    "processor_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer.model.v3",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
    "vocab.txt",
    "NOTICE",
    "NOTICE.md",
    "NOTICE.txt",
    "USE_POLICY.md",
};
constexpr std::array<std::string_view, 3> kPrefixes = {"LICENSE", "LICENCE", "COPYING"};

// "configuration_x.XConfig" → "configuration_x.py". A "repository--module.Class" lies elsewhere.
void add_modules(const Json& value, std::set<std::string>& modules) {
  if (value.is_array() || value.is_object()) {
    for (const auto& entry : value) add_modules(entry, modules);
  } else if (value.is_string()) {
    const std::string name = value.get<std::string>();
    const std::size_t dot = name.find('.');
    if (dot != std::string::npos && name.find("--") == std::string::npos) modules.insert(name.substr(0, dot) + ".py");
  }
}

std::set<std::string> remote_code(const FileSet& files, const Json& config) {
  std::set<std::string> modules;
  if (config.contains("auto_map")) add_modules(config["auto_map"], modules);
  if (files.contains("tokenizer_config.json")) {
    const std::string where = files.label() + "/tokenizer_config.json";
    const Json tokenizer = parse_json(files.open("tokenizer_config.json").text(), where);
    if (tokenizer.is_object() && tokenizer.contains("auto_map")) add_modules(tokenizer["auto_map"], modules);
  }
  return modules;
}

bool starts_with_one(const std::string& name) {
  return std::any_of(kPrefixes.begin(), kPrefixes.end(), [&](std::string_view p) { return name.starts_with(p); });
}

}  // namespace

std::vector<std::string> side_files(const FileSet& files, const Json& config) {
  const std::set<std::string> code = remote_code(files, config);
  std::vector<std::string> found;
  for (const std::string& name : files.names()) {
    const bool listed = std::find(kNames.begin(), kNames.end(), name) != kNames.end();
    if (listed || starts_with_one(name) || code.count(name) != 0) found.push_back(name);
  }
  return found;
}

void copy_side_files(const FileSet& files, const Json& config, OutputDirectory& out) {
  for (const std::string& name : side_files(files, config)) out.write(name, files.open(name).text());
}

}  // namespace streamline
