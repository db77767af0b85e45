// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/control_group.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace streamline {
namespace {

namespace fs = std::filesystem;

// Limits above it are how version 1 says that there is none.
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 60;

struct Hierarchy {
  fs::path mount;                // whose files the outermost group's are
  std::vector<fs::path> groups;  // this process's, then those around it
  bool unified = false;          // version 2
};

bool names(std::string_view controllers, std::string_view controller) {
  for (std::size_t first = 0; first <= controllers.size();) {
    const std::size_t last = std::min(controllers.find(',', first), controllers.size());
    if (controllers.substr(first, last - first) == controller) return true;
    first = last + 1;
  }
  return false;
}

// In a container the path may name what lies outside of it; then its own root is all there is.
std::vector<fs::path> groups_up_to(const fs::path& mount, const std::string& path) {
  std::error_code error;
  fs::path group = (mount / fs::path(path).relative_path()).lexically_normal();
  if (!fs::is_directory(group, error)) group = mount;
  std::vector<fs::path> groups = {group};
  while (group != mount && group.has_parent_path() && group.string().size() > mount.string().size()) {
    group = group.parent_path();
    groups.push_back(group);
  }
  return groups;
}

// The hierarchies that may hold this controller: lines "4:memory:/a/b" (version 1) and "0::/a/b" (version 2).
std::vector<Hierarchy> hierarchies(const fs::path& root, std::string_view controller) {
  std::vector<Hierarchy> found;
  std::ifstream lines(root / "proc/self/cgroup");
  const fs::path mounts = root / "sys/fs/cgroup";
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (controllers.empty()) {
      found.push_back({.mount = mounts, .groups = groups_up_to(mounts, path), .unified = true});
    } else if (names(controllers, controller)) {
      const fs::path mount = mounts / controller;
      found.push_back({.mount = mount, .groups = groups_up_to(mount, path), .unified = false});
    }
  }
  return found;
}

// A number at the beginning of a file; nothing for "max", and where there is no file.
std::optional<double> number_in(const fs::path& file) {
  std::ifstream input(file);
  double value = 0;
  if (input >> value) return value;
  return std::nullopt;
}

// Of the lines "name value" of a file.
std::uint64_t value_of(const fs::path& file, std::string_view name) {
  std::ifstream input(file);
  std::string key;
  for (std::uint64_t value = 0; input >> key >> value;)
    if (key == name) return value;
  return 0;
}

std::optional<std::uint64_t> left_in(const fs::path& group, bool unified) {
  const auto limit = number_in(group / (unified ? "memory.max" : "memory.limit_in_bytes"));
  const auto used = number_in(group / (unified ? "memory.current" : "memory.usage_in_bytes"));
  if (!limit || !used || *limit >= static_cast<double>(kNoLimit)) return std::nullopt;
  const std::string prefix = unified ? "" : "total_";
  const fs::path details = group / "memory.stat";
  const double files = static_cast<double>(value_of(details, prefix + "inactive_file")) +
                       static_cast<double>(value_of(details, prefix + "active_file"));
  return static_cast<std::uint64_t>(std::max(0.0, *limit - std::max(0.0, *used - files)));
}

std::optional<double> quota_of(const fs::path& group, bool unified) {
  if (!unified) {
    const auto quota = number_in(group / "cpu.cfs_quota_us"), period = number_in(group / "cpu.cfs_period_us");
    if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
    return *quota / *period;
  }
  std::ifstream input(group / "cpu.max");  // "150000 100000", or "max 100000"
  double quota = 0, period = 0;
  if (input >> quota >> period && quota > 0 && period > 0) return quota / period;
  return std::nullopt;
}

// The least of what a controller's groups say.
template <class Value, class Read>
std::optional<Value> least(const fs::path& root, std::string_view controller, const Read& read) {
  std::optional<Value> result;
  for (const Hierarchy& hierarchy : hierarchies(root, controller))
    for (const fs::path& group : hierarchy.groups)
      if (const std::optional<Value> value = read(group, hierarchy.unified))
        result = result ? std::min(*result, *value) : *value;
  return result;
}

}  // namespace

std::optional<std::uint64_t> group_memory_left(const fs::path& root) {
  return least<std::uint64_t>(root, "memory", left_in);
}

std::optional<double> group_cpu_quota(const fs::path& root) { return least<double>(root, "cpu", quota_of); }

}  // namespace streamline
