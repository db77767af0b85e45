// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/corpus.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/base/json.h"
#include "streamline/text/text_lines.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;
using TakeDocument = std::function<bool(Document&&)>;

bool is_jsonl(const fs::path& path) { return without_compression(path).extension() == ".jsonl"; }
bool is_corpus_file(const fs::path& path) { return is_jsonl(path) || without_compression(path).extension() == ".txt"; }

// A directory's corpus files in name order; any other path is a file, whatever its name.
std::vector<fs::path> files_of(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) fail(ErrorKind::io, path.string(), ": no such file or directory");
  if (!fs::is_directory(path, error)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path, error))
    if (entry.is_regular_file() && is_corpus_file(entry.path())) files.push_back(entry.path());
  if (error) fail(ErrorKind::io, path.string(), ": cannot be listed: ", error.message());
  if (files.empty())
    fail(ErrorKind::resource, path.string(), ": no text: no .txt or .jsonl file (or .gz, .zst of one)");
  std::sort(files.begin(), files.end());
  return files;
}

std::string keys_of(const Json& object) {
  std::string keys;
  for (const auto& [key, value] : object.items()) keys += (keys.empty() ? "" : ", ") + key;
  return keys.empty() ? "none" : keys;
}

std::string text_of_line(std::string_view line, const std::string& where, const std::string& field) {
  const Json object = parse_json(line, where);
  if (!object.is_object()) fail(ErrorKind::format, where, ": not a JSON object");
  if (auto text = json_string(object, field, where)) return *text;
  fail(ErrorKind::format, where, ": has no field '", field, "' (fields: ", keys_of(object),
       "); --text-field names another");
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == line.npos; }

void check_line_utf8(std::string_view line, const std::string& file, std::int64_t offset) {
  if (const auto at = find_invalid_utf8(line))
    fail(ErrorKind::format, file, ": not valid UTF-8 at byte ", offset + static_cast<std::int64_t>(*at));
}

bool read_jsonl(const fs::path& path, const CorpusOptions& options, const TakeDocument& take) {
  bool wanted = true;
  read_lines(path, [&](std::string_view line, std::int64_t number, std::int64_t offset) {
    if (is_blank(line)) return true;
    check_line_utf8(line, path.string(), offset);
    const std::string where = path.string() + ":" + std::to_string(number);
    std::string text = text_of_line(line, where, options.text_field);
    if (!text.empty()) wanted = take({std::move(text), where});
    return wanted;
  });
  return wanted;
}

bool read_whole(const fs::path& path, const TakeDocument& take) {
  Document document{.text = {}, .origin = path.string()};
  read_chunks(path, [&](std::string_view chunk) {
    document.text += chunk;
    return true;
  });
  check_utf8(document.text, path.string());
  return document.text.empty() || take(std::move(document));
}

}  // namespace

void read_corpus(const fs::path& path, const CorpusOptions& options, const TakeDocument& take) {
  bool any = false;
  const auto counted = [&](Document&& document) {
    any = true;
    return take(std::move(document));
  };
  for (const fs::path& file : files_of(path))
    if (!(is_jsonl(file) ? read_jsonl(file, options, counted) : read_whole(file, counted))) break;
  if (!any) fail(ErrorKind::resource, path.string(), ": there is no text in it");
}

}  // namespace streamline
