// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "streamline/tasks/harness_names.h"
#include "streamline/tasks/opencompass_files.h"

namespace streamline {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kLabel = "label: ";

// A label, a gold answer or a prediction, whatever its type; nothing for what can be none of them.
std::optional<std::string> word(const Json& entry, const char* key) {
  const auto found = entry.find(key);
  if (found == entry.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number_integer()) return found->dump();
  return std::nullopt;
}

// Tokens of the text: BPB = PPL · tokens / bytes. 0: not said, or no whole number.
std::int64_t tokens_of(const Json& label, double ppl, const std::string& where) {
  const auto bits = json_number(label, "BPB", where);
  const auto text = json_string(label, "testing input", where);
  if (!bits || !text || !(ppl > 0)) return 0;
  const double tokens = *bits * static_cast<double>(text->size()) / ppl;
  constexpr double kLargest = 1e9, kRounding = 1e-4;
  if (!(tokens >= 1 && tokens < kLargest) || std::abs(tokens - std::round(tokens)) > kRounding) return 0;
  return std::llround(tokens);
}

struct Labelled {
  std::vector<std::string> labels;
  Answer answer;
};

std::size_t place(const std::vector<std::string>& labels, const std::optional<std::string>& label, const char* key,
                  const std::string& where) {
  if (!label) fail(ErrorKind::format, where, ": '", key, "' is missing, or neither a string nor an integer");
  const auto found = std::find(labels.begin(), labels.end(), *label);
  if (found == labels.end()) fail(ErrorKind::format, where, ": '", key, "' is '", *label, "', which is no label there");
  return static_cast<std::size_t>(found - labels.begin());
}

Labelled parse_entry(const Json& entry, const std::string& where) {
  if (!entry.is_object()) fail(ErrorKind::format, where, ": not a JSON object");
  Labelled item;
  for (const auto& [key, value] : entry.items()) {
    if (!key.starts_with(kLabel)) continue;
    const std::string at = where + ": '" + key + "'";
    const auto ppl = json_number(value, "PPL", at);
    if (!ppl) fail(ErrorKind::format, at, " has no 'PPL'");
    item.labels.push_back(key.substr(kLabel.size()));
    item.answer.log_likelihoods.push_back(-*ppl);
    item.answer.tokens.push_back(tokens_of(value, *ppl, at));
  }
  if (item.labels.empty()) fail(ErrorKind::format, where, ": no 'label: X'; expected predictions of the PPL mode");
  item.answer.gold = place(item.labels, word(entry, "gold"), "gold", where);
  const std::size_t predicted = place(item.labels, word(entry, "prediction"), "prediction", where);
  if (predicted != most_likely(item.answer))
    fail(ErrorKind::format, where, ": 'prediction' is '", item.labels[predicted], "', but '",
         item.labels[most_likely(item.answer)], "' has the lowest PPL");
  return item;
}

// Either every text's tokens are known, and log likelihoods become sums, or none are.
void settle_tokens(TaskAnswers& set) {
  const bool known = std::all_of(set.answers.begin(), set.answers.end(), [](const Answer& answer) {
    return std::find(answer.tokens.begin(), answer.tokens.end(), 0) == answer.tokens.end();
  });
  for (Answer& answer : set.answers) {
    if (known)
      for (std::size_t i = 0; i < answer.tokens.size(); ++i)
        answer.log_likelihoods[i] *= static_cast<double>(answer.tokens[i]);
    else
      answer.tokens.clear();
  }
}

// Appends the file's questions.
void read_into(TaskAnswers& set, const fs::path& file) {
  const Json predictions = parse_json(map_file(file).text(), file.string());
  if (!predictions.is_object() || predictions.empty())
    fail(ErrorKind::format, file.string(), ": not a file of predictions (an object keyed \"0\", \"1\", …)");
  auto next = predictions.begin();
  for (std::size_t i = 0; i < predictions.size(); ++i, ++next) {
    const std::string key = std::to_string(i), where = file.string() + ": item '" + key + "'";
    // Looking a key up walks over all of them; they mostly stand in order.
    const auto entry = next.key() == key ? next : predictions.find(key);
    if (entry == predictions.end())
      fail(ErrorKind::format, where, " is missing; expected \"0\" to \"", predictions.size() - 1, "\"");
    Labelled item = parse_entry(*entry, where);
    if (item.labels.size() > set.labels.size()) std::swap(set.labels, item.labels);
    if (!std::equal(item.labels.begin(), item.labels.end(), set.labels.begin()))
      fail(ErrorKind::format, where, ": its labels are not those of the other items");
    item.answer.id = std::to_string(set.answers.size());
    set.answers.push_back(std::move(item.answer));
  }
}

TaskAnswers read_parts(const std::string& name, const std::vector<fs::path>& files) {
  TaskAnswers set;
  set.name = name;
  set.group = benchmark_of(name);
  set.style = Style::opencompass;
  set.metrics = {"acc"};
  set.source = files.front().string();
  for (const fs::path& file : files) read_into(set, file);
  settle_tokens(set);
  set.items_in_data = static_cast<std::int64_t>(set.answers.size());
  return set;
}

// NAME_12: NAME and 12.
std::optional<std::pair<std::string, std::size_t>> part_of(const std::string& stem) {
  const std::size_t mark = stem.rfind('_');
  if (mark == std::string::npos || mark + 1 == stem.size()) return std::nullopt;
  std::size_t number = 0;
  const char* end = stem.data() + stem.size();
  if (std::from_chars(stem.data() + mark + 1, end, number).ptr != end) return std::nullopt;
  return std::pair{stem.substr(0, mark), number};
}

// Folders of FOLDER that hold files of JSON, one of which is asked for.
fs::path predictions_folder(const fs::path& folder) {
  std::error_code error;
  const fs::path inside = folder / "predictions";
  const fs::path base = fs::is_directory(inside, error) ? inside : folder;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(base, error)) {
    if (entry.path().extension() == ".json") return base;
    if (!entry.is_directory(error)) continue;
    for (const auto& file : fs::directory_iterator(entry.path(), error))
      if (file.path().extension() == ".json") {
        found.push_back(entry.path());
        break;
      }
  }
  std::sort(found.begin(), found.end());
  if (found.size() == 1) return found.front();
  if (found.empty()) fail(ErrorKind::io, folder.string(), ": no predictions of OpenCompass (DATASET.json)");
  std::string names;
  for (const fs::path& path : found) names += (names.empty() ? "" : ", ") + path.filename().string();
  fail(ErrorKind::io, base.string(), ": predictions of several models; name the folder of one: ", names);
}

}  // namespace

TaskAnswers read_opencompass(const fs::path& file) { return read_parts(file.stem().string(), {file}); }

std::vector<TaskAnswers> read_opencompass_folder(const fs::path& folder) {
  const fs::path model = predictions_folder(folder);
  std::map<std::string, std::map<std::size_t, fs::path>> sets;
  for (const std::string& name : open_directory(model)->names()) {
    const fs::path file = model / name;
    if (file.extension() != ".json") continue;
    const std::string stem = file.stem().string();
    const auto part = part_of(stem);
    // The first part decides: "x_1.json" without "x_0.json" is a set of that name.
    if (part && fs::exists(model / (part->first + "_0.json")))
      sets[part->first].emplace(part->second, file);
    else
      sets[stem].emplace(0, file);
  }
  std::vector<TaskAnswers> all;
  for (const auto& [name, parts] : sets) {
    std::vector<fs::path> files;
    for (const auto& [number, file] : parts) {
      if (number != files.size())
        fail(ErrorKind::format, (model / name).string(), "_", files.size(),
             ".json is missing, and later parts are there");
      files.push_back(file);
    }
    all.push_back(read_parts(name, files));
  }
  return all;
}

bool is_opencompass(const fs::path& file) {
  const Blob blob = map_file(file);
  const std::string_view begin = blob.text().substr(0, 4096);
  const std::size_t brace = begin.find_first_not_of(" \t\r\n");
  if (brace == std::string_view::npos || begin[brace] != '{') return false;
  const std::size_t key = begin.find_first_not_of(" \t\r\n", brace + 1);
  return key != std::string_view::npos && begin.substr(key).starts_with("\"0\"");
}

}  // namespace streamline
