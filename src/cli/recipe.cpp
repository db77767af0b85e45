// SPDX-License-Identifier: Apache-2.0
#include "recipe.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <optional>

#include "streamline/base/error.h"
#include "streamline/base/file.h"

namespace streamline::cli {
namespace {

constexpr std::string_view kOption = kRecipeOption;
constexpr const char* kCommand = "command";
constexpr std::size_t kFirst = 2;  // after the program's and the command's names, where it may stand

// Takes "--config FILE" or "--config=FILE" out of the words.
std::optional<std::string> take_file(std::vector<std::string>& words) {
  std::optional<std::string> file;
  for (std::size_t i = kFirst; i < words.size();) {
    const std::string word = words[i];
    const bool joined = word.starts_with(std::string(kOption) + "=");
    if (word != kOption && !joined) {
      ++i;
      continue;
    }
    if (file) fail(ErrorKind::usage, "--config is given twice");
    if (!joined && i + 1 == words.size()) fail(ErrorKind::usage, "--config: the name of a file is missing");
    file = joined ? word.substr(kOption.size() + 1) : words[i + 1];
    words.erase(words.begin() + static_cast<std::ptrdiff_t>(i),
                words.begin() + static_cast<std::ptrdiff_t>(i + (joined ? 1 : 2)));
  }
  return file;
}

// What stands on the command line without a name.
bool is_models(const std::string& key) { return key == "model" || key == "models"; }

bool is_given(const std::vector<std::string>& words, std::size_t names, const std::string& name) {
  if (is_models(name)) return words.size() > names && !words[names].starts_with('-');
  const std::string option = "--" + name;
  return std::any_of(words.begin(), words.end(),
                     [&](const std::string& word) { return word == option || word.starts_with(option + "="); });
}

// Options of a command of which only one may be given: what the words give takes the place of the file's.
struct Alternatives {
  std::string_view command;
  std::vector<std::string_view> names;
};
const std::vector<Alternatives>& alternatives() {
  static const std::vector<Alternatives> all = {
      {"prune", {"layers", "cut", "halves", "sparsity", "threshold", "ratio", "keep-heads", "keep-channels", "budget"}},
      {"sparsify", {"ratio", "pattern"}},
      {"compare", {"data", "calibration"}}};
  return all;
}

bool gives_way(const std::vector<std::string>& words, std::size_t names, const std::string& name) {
  const auto takes_its_place = [&](std::string_view other) {
    const bool beside = name.starts_with("keep-") && other.starts_with("keep-");  // these go together
    return other != name && !beside && is_given(words, names, std::string(other));
  };
  return std::ranges::any_of(alternatives(), [&](const Alternatives& group) {
    return words.size() > 1 && group.command == words[1] && std::ranges::count(group.names, name) > 0 &&
           std::ranges::any_of(group.names, takes_its_place);
  });
}

std::string scalar(const YAML::Node& node, const std::string& where, const std::string& key) {
  if (!node.IsScalar()) fail(ErrorKind::format, where, ": '", key, "' is neither a value nor a list of values");
  return node.Scalar();
}

std::string value_of(const YAML::Node& node, const std::string& where, const std::string& key) {
  if (!node.IsSequence()) return scalar(node, where, key);
  std::string values;
  for (const YAML::Node& element : node) values += (values.empty() ? "" : ",") + scalar(element, where, key);
  return values;
}

// The words that one entry stands for; none for a flag that is off.
std::vector<std::string> words_of(const std::string& key, const YAML::Node& node, const std::string& where) {
  if (node.IsNull()) fail(ErrorKind::format, where, ": '", key, "' has no value");
  if (is_models(key) && node.IsSequence()) {
    std::vector<std::string> models;
    for (const YAML::Node& element : node) models.push_back(scalar(element, where, key));
    return models;
  }
  const std::string value = value_of(node, where, key);
  if (is_models(key)) return {value};
  // An unquoted true is a flag; text that says so is quoted.
  if (node.IsScalar() && node.Tag() == "?" && value == "true") return {"--" + key};
  if (node.IsScalar() && node.Tag() == "?" && value == "false") return {};
  return {"--" + key + "=" + value};
}

// `names`: as of with_recipe().
void check_command(const YAML::Node& node, const std::vector<std::string>& words, std::size_t names,
                   const std::string& where) {
  if (!node.IsScalar()) fail(ErrorKind::format, where, ": '", kCommand, "' is the name of one command");
  const std::string named = node.Scalar();
  std::string given;
  for (std::size_t i = 1; i < std::min(names, words.size()); ++i) given += (i > 1 ? " " : "") + words[i];
  if (named != given)
    fail(ErrorKind::usage, where, ": is a recipe of `streamline ", named, "`; this is `streamline ", given, "`");
}

YAML::Node read(const std::string& file) {
  try {
    YAML::Node node = YAML::Load(read_text(file));
    if (!node.IsMap()) fail(ErrorKind::format, file, ": a recipe is a mapping, as in 'cut: 4'");
    return node;
  } catch (const YAML::Exception& error) {
    fail(ErrorKind::format, file, ": line ", error.mark.line + 1, ": ", error.msg);
  }
}

}  // namespace

void add_recipe_option(Arguments& arguments) {
  arguments.add(
      kRecipeOption, [](const std::string&) {}, "YAML file of options; the command line wins over it", "TEXT");
}

RecipeWords with_recipe(std::vector<std::string> words, std::size_t names) {
  const auto file = take_file(words);
  if (!file) return {.words = std::move(words)};
  RecipeWords result;
  std::vector<std::string> from_file, models;
  const YAML::Node recipe = read(*file);
  if (const YAML::Node command = recipe[kCommand])
    check_command(command, words, names, *file + ":" + std::to_string(command.Mark().line + 1));
  for (const auto& entry : recipe) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (key.empty() || key.starts_with('-') || key == "config")
      fail(ErrorKind::format, *file, ": '", key, "' is no option's name without its dashes");
    if (key == kCommand || is_given(words, names, key) || gives_way(words, names, key)) continue;
    result.places.emplace_back("--" + key, *file + ":" + std::to_string(entry.first.Mark().line + 1));
    for (std::string& word : words_of(key, entry.second, *file))
      (is_models(key) ? models : from_file).push_back(std::move(word));
  }
  // Models come first, so that no option takes one for its value.
  from_file.insert(from_file.begin(), models.begin(), models.end());
  const auto behind_names = words.begin() + static_cast<std::ptrdiff_t>(std::min(names, words.size()));
  words.insert(std::find_if(behind_names, words.end(), [](const std::string& word) { return word.starts_with('-'); }),
               from_file.begin(), from_file.end());
  result.words = std::move(words);
  return result;
}

std::string place_of(const std::string& message, const RecipeWords& recipe) {
  constexpr std::string_view kOfNames = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
  const std::size_t begin = message.find("--");
  if (begin == std::string::npos) return "";
  const std::string named = message.substr(begin, message.find_first_not_of(kOfNames, begin) - begin);
  const auto found = std::ranges::find(recipe.places, named, &std::pair<std::string, std::string>::first);
  return found == recipe.places.end() ? "" : found->second + ": ";
}

std::string recipe_text(const std::string& command, const GivenOptions& options) {
  YAML::Emitter out;
  out << YAML::BeginMap << YAML::Key << kCommand << YAML::Value << command;
  for (const auto& [name, values] : options) {
    out << YAML::Key << name << YAML::Value;
    if (values.size() == 1)
      out << values.front();
    else
      out << YAML::Flow << values;
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace streamline::cli
