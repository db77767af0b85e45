// SPDX-License-Identifier: Apache-2.0
// The names of files and directories while they are written, and what writers leave behind that are killed before they
// give them their own.
#pragma once

#include <filesystem>
#include <functional>
#include <system_error>
#include <vector>

namespace streamline {

// Absolute, without "." and "..", and without a slash at its end, which would make a temporary name one inside it.
std::filesystem::path whole_path(const std::filesystem::path& path);

// Beside `target`, ".NAME.part-123-9f86d081" with this process's number and a random one, new at each call: processes
// of several containers may have one number.
std::filesystem::path temporary_name(const std::filesystem::path& target);
// The same as ".NAME.old-123-9f86d081", for what stood at `target` while another takes its place.
std::filesystem::path replaced_name(const std::filesystem::path& target);

// Holds the lock (flock) of the file or directory at `path` while the descriptor that it returns is open; -1 where
// another descriptor holds it, of whatever process, or where no lock can be had.
int lock_path(const std::filesystem::path& path);

// Removes temporary files of OutputFile in `directory` of processes that are no more, or of this one's number, whose
// lock can be had. A writer in another container, or on another machine, has a number that says nothing here: it is
// known by its lock, where the file system carries locks between them. Never fails: what cannot be removed does no
// harm.
void remove_unfinished(const std::filesystem::path& directory);

// Removes what was to become `target`, a file or a directory with all that is in it, of processes that are no more, or
// of this one's number, whose lock can be had. Never fails, as above.
void remove_unfinished_of(const std::filesystem::path& target);

// The directories above an output that were not there, and are made for it. When this ends they are removed again,
// where nothing lies in them; those that were there stay.
class ParentDirectories {
 public:
  ParentDirectories() = default;
  ~ParentDirectories();
  ParentDirectories(const ParentDirectories&) = delete;
  ParentDirectories& operator=(const ParentDirectories&) = delete;

  // Makes those above `path`, then calls `make`, and returns what that says. Both again where a directory is missing
  // all the same: another run may have made it, and removed it since. Errors: io for one that cannot be made.
  std::error_code make_below(const std::filesystem::path& path, const std::function<std::error_code()>& make);

 private:
  std::vector<std::filesystem::path> made_;  // outer ones first
};

// An empty directory under a temporary name of `target` (whole), locked, which is removed with all that is in it when
// this ends, and with the directories above it that were made for it and are empty. What processes that are no more
// left of the same target is removed first. `target` itself is not looked at. Errors: io when it cannot be created.
class UnfinishedDirectory {
 public:
  explicit UnfinishedDirectory(const std::filesystem::path& target);
  ~UnfinishedDirectory();
  UnfinishedDirectory(const UnfinishedDirectory&) = delete;
  UnfinishedDirectory& operator=(const UnfinishedDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }  // empty when it has another name
  // It has got another name, and stays.
  void renamed() { path_.clear(); }

 private:
  ParentDirectories parents_;  // the last that goes
  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace streamline
