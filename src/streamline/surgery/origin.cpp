// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/origin.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/base/version.h"

namespace streamline {

namespace fs = std::filesystem;

namespace {

bool is_inside(const fs::path& path, const fs::path& directory) {
  const auto [mismatch, unused] = std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return mismatch == directory.end();
}

}  // namespace

std::string model_name(const std::string& label) {
  constexpr std::string_view kPrefix = "models--";
  for (const fs::path& part : fs::absolute(label)) {
    std::string name = part.string();
    if (!name.starts_with(kPrefix)) continue;
    name.erase(0, kPrefix.size());
    if (const std::size_t dashes = name.find("--"); dashes != std::string::npos) name.replace(dashes, 2, "/");
    return name;
  }
  return base_name(label);
}

void check_target(const Checkpoint& source, const fs::path& out) {
  std::error_code error;
  if (!fs::is_directory(source.label(), error)) return;
  const fs::path from = fs::weakly_canonical(source.label());
  fs::path to = fs::weakly_canonical(fs::absolute(out));
  if (!to.has_filename()) to = to.parent_path();
  if (from == to) fail(ErrorKind::usage, out.string(), ": the target is the source; choose another directory");
  if (is_inside(to, from)) fail(ErrorKind::usage, out.string(), ": the target lies inside the source ", source.label());
  if (is_inside(from, to)) fail(ErrorKind::usage, out.string(), ": the source ", source.label(), " lies inside it");
}

void check_space(const OutputDirectory& out, std::uint64_t bytes, const fs::path& target) {
  std::error_code error;
  const fs::space_info space = fs::space(out.staging(), error);
  if (!error && space.available < bytes) {
    fail(ErrorKind::resource, target.string(), ": the result takes ", bytes / 1'000'000, " MB and the disk has ",
         space.available / 1'000'000, " MB left; free some space or choose another place");
  }
}

Plan completed_plan(const Checkpoint& source, Plan plan) {
  if (plan.base.model.empty() || plan.base.model == source.label()) plan.base.model = model_name(source.label());
  if (plan.base.digest.empty()) plan.base.digest = source.digest();
  return plan;
}

Json provenance_of(const Plan& plan) {
  return {{"version", program_version()},
          {"base_model", plan.base.model},
          {"base_digest", plan.base.digest},
          {"base_layers", plan.base.layers},
          {"plan", summary(plan)},
          {"method", plan.method.name},
          {"parameters", plan.method.parameters},
          {"calibration_digest", plan.method.calibration_digest},
          {"seed", plan.method.seed}};
}

std::map<std::string, std::string> metadata_of(const Json& provenance) {
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : provenance.items())
    metadata["streamline." + key] = value.is_string() ? value.get<std::string>() : value.dump();
  return metadata;
}

std::string source_card(const Checkpoint& source) {
  return source.files().contains("README.md") ? std::string(source.files().open("README.md").text()) : std::string();
}

std::string base_name(const std::string& label) {
  const fs::path path = fs::absolute(label).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

}  // namespace streamline
