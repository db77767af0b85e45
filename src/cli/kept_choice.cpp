// SPDX-License-Identifier: Apache-2.0
#include "kept_choice.h"

#include <filesystem>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"

namespace streamline::cli {
namespace fs = std::filesystem;
namespace {

fs::path choice_path(const std::string& folder, const Json& key) {
  const std::string name = key.at("method").get<std::string>() + "-" + sha256(dump_json(key)).substr(0, 12) + ".json";
  return fs::path(folder) / "choices" / name;
}

}  // namespace

std::optional<KeptChoice> kept_choice(const std::string& folder, const Json& key) {
  if (folder.empty()) return std::nullopt;
  const fs::path path = choice_path(folder, key);
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return std::nullopt;
  try {
    const Json found = parse_json(read_text(path), path.string());
    if (found.at("key") != key) return std::nullopt;
    return KeptChoice{.plan = plan_from_json(found.at("plan"), path.string()),
                      .warnings = found.at("warnings").get<std::vector<std::string>>(),
                      .seconds = found.at("seconds").get<double>()};
  } catch (const std::exception& damage) {
    log_warning(path.string() + " cannot be read and is made again: " + damage.what());
    return std::nullopt;
  }
}

void keep_choice(const std::string& folder, const Json& key, const KeptChoice& choice) {
  if (folder.empty()) return;
  const Json json = {
      {"key", key}, {"plan", to_json(choice.plan)}, {"warnings", choice.warnings}, {"seconds", choice.seconds}};
  write_text(choice_path(folder, key), dump_json(json));
}

}  // namespace streamline::cli
