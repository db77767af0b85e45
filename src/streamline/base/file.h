// SPDX-License-Identifier: Apache-2.0
// Files: mapped reading, sets of files (a directory, or memory in tests), and output that appears whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/unfinished.h"

namespace streamline {

// Read-only bytes and whatever keeps them alive (a mapping or a string).
struct Blob {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
  bool mapped = false;  // a file's

  std::string_view text() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
};

// Where the running program lies; empty where the system does not say.
std::filesystem::path program_folder();

// Maps a regular file; nothing is read until it is touched. Errors: io.
Blob map_file(const std::filesystem::path& path);
Blob memory_blob(std::string contents);

// A flat set of named files: what a checkpoint is, whether it lies in a directory or, in tests, in memory.
class FileSet {
 public:
  virtual ~FileSet() = default;
  // File names in lexicographic order; sub-directories are not listed.
  virtual std::vector<std::string> names() const = 0;
  virtual bool contains(std::string_view name) const = 0;
  // Errors: io when there is no such file. `name` must not contain a path separator (format error otherwise).
  virtual Blob open(std::string_view name) const = 0;
  // How messages call this set, e.g. the directory's path.
  virtual std::string label() const = 0;
};

// Errors: io when `path` is not a readable directory.
std::shared_ptr<const FileSet> open_directory(const std::filesystem::path& path);
// The files of a set that have these names, under the set's label.
std::shared_ptr<const FileSet> some_files(std::shared_ptr<const FileSet> set, std::vector<std::string> names);
std::shared_ptr<const FileSet> memory_files(std::string label, const std::map<std::string, std::string>& files);

// When what was written must have reached the disk: when its file gets its name, or when the directory does that the
// file is in.
enum class Durable { now, with_directory };

// One file being written under a temporary name. Every write is checked; the file exists under its own name only
// after commit(). The destructor removes what was not committed, and the directories above it that were made for it and
// are empty. Errors: io, also for a path that is there and no file (a directory, a device); a link stays, and what it
// points to is replaced.
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Errors: io (disk full, quota …), naming the file.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit(Durable durable = Durable::now);

 private:
  void close_and_remove() noexcept;
  ParentDirectories parents_;  // the last that goes
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

enum class Overwrite { no, yes };
// What stands at the path of an output in the end.
enum class TargetKind { directory, file };

// A directory being written: files go to a sibling with a temporary name, which commit() renames to `path` when all
// files in it have reached the disk.
// Without commit() nothing is left, nor directories above it that were made for it. commit() replaces an existing
// directory only with Overwrite::yes, and only one that holds a model or adapters. With TargetKind::file the caller
// takes the files out of it, one of which is to stand at `path`, and may replace a file only. The sibling is locked, so
// that other processes leave it alone (unfinished.h), and what killed ones left of the same path is removed first.
// Errors: io for a target that is there and may not be replaced, or cannot be written.
class OutputDirectory {
 public:
  OutputDirectory(const std::filesystem::path& path, Overwrite overwrite, TargetKind kind = TargetKind::directory);

  // Where to write before commit(). Sub-directories may be created below it.
  const std::filesystem::path& staging() const { return staging_.path(); }
  void write(std::string_view name, std::string_view text);
  // Waits until the files in it have reached the disk; commit() does.
  void sync() const;
  void commit();

 private:
  std::filesystem::path path_;
  Overwrite overwrite_;
  UnfinishedDirectory staging_;
};

std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, std::string_view text);  // through OutputFile

}  // namespace streamline
