// SPDX-License-Identifier: Apache-2.0
// Tasks by name: those of a folder, and those that travel with the program.
#include "streamline/tasks/task.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/nearest.h"
#include "streamline/tasks/task_spec.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnds[] = {".yaml", ".yml", ".json"};

bool is_task_file(const fs::path& path) {
  return std::find(std::begin(kEnds), std::end(kEnds), path.extension().string()) != std::end(kEnds);
}

std::vector<fs::path> task_files(const fs::path& folder) {
  std::vector<fs::path> files;
  if (folder.empty()) return files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.is_regular_file(error) && is_task_file(entry.path())) files.push_back(entry.path());
  if (error) fail(ErrorKind::io, folder.string(), ": cannot be listed: ", error.message());
  std::sort(files.begin(), files.end());
  return files;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

std::string about(const Task& task) { return task.about; }

std::shared_ptr<const Task> read_task(const fs::path& file) {
  return std::make_shared<const Task>(parse_task(read_text(file), file.string()));
}

std::vector<std::string> task_names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::path& file : task_files(folder)) names.push_back(file.stem().string());
  for (const ShippedTask& task : shipped_tasks())
    if (std::find(names.begin(), names.end(), task.name) == names.end()) names.emplace_back(task.name);
  return names;
}

std::shared_ptr<const Task> find_task(std::string_view name, const fs::path& folder) {
  const fs::path path(name);
  if (is_task_file(path)) return read_task(path);
  for (const fs::path& file : task_files(folder))
    if (file.stem() == path) return read_task(file);
  for (const ShippedTask& task : shipped_tasks())
    if (task.name == name)
      return std::make_shared<const Task>(parse_task(task.text, "shipped task " + std::string(name)));
  const std::vector<std::string> names = task_names(folder);
  fail(ErrorKind::usage, "no task '", name, "' (", listed(names), ")", nearest_text(name, names),
       "; a path that ends in .yaml reads your own");
}

TaskChoice choose_task(std::string_view name, const fs::path& folder) {
  const std::vector<std::string> names = task_names(folder);
  if (is_task_file(name) || std::ranges::find(names, name) != names.end()) return {find_task(name, folder)};
  for (const std::string& task_name : names) {
    if (!name.starts_with(task_name + "_")) continue;
    if (auto task = find_task(task_name, folder); !task->split.empty()) return {std::move(task), std::string(name)};
  }
  return {find_task(name, folder)};
}

}  // namespace streamline
