// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "streamline/base/copy_mapped.h"
#include "streamline/base/error.h"

namespace streamline {
namespace fs = std::filesystem;
namespace {

std::string reason() { return std::strerror(errno); }

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

class DirectoryFiles : public FileSet {
 public:
  explicit DirectoryFiles(fs::path directory) : directory_(std::move(directory)) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory_, error))
      if (entry.is_regular_file(error)) names_.push_back(entry.path().filename().string());
    if (error) fail(ErrorKind::io, directory_.string(), ": cannot read this directory: ", error.message());
    std::sort(names_.begin(), names_.end());
  }

  std::vector<std::string> names() const override { return names_; }
  bool contains(std::string_view name) const override { return std::binary_search(names_.begin(), names_.end(), name); }
  Blob open(std::string_view name) const override {
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos)
      fail(ErrorKind::format, label(), ": the file name '", name, "' leaves the directory");
    return map_file(directory_ / name);
  }
  std::string label() const override { return directory_.string(); }

 private:
  fs::path directory_;
  std::vector<std::string> names_;
};

class MemoryFiles : public FileSet {
 public:
  MemoryFiles(std::string label, const std::map<std::string, std::string>& files) : label_(std::move(label)) {
    for (const auto& [name, contents] : files) blobs_.emplace(name, memory_blob(contents));
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& entry : blobs_) names.push_back(entry.first);
    return names;
  }
  bool contains(std::string_view name) const override { return blobs_.find(name) != blobs_.end(); }
  Blob open(std::string_view name) const override {
    if (name.find('/') != std::string_view::npos)
      fail(ErrorKind::format, label_, ": the file name '", name, "' leaves the directory");
    const auto found = blobs_.find(name);
    if (found == blobs_.end()) fail(ErrorKind::io, label_, "/", name, ": no such file");
    return found->second;
  }
  std::string label() const override { return label_; }

 private:
  std::string label_;
  std::map<std::string, Blob, std::less<>> blobs_;
};

class SomeFiles : public FileSet {
 public:
  SomeFiles(std::shared_ptr<const FileSet> set, std::vector<std::string> names)
      : set_(std::move(set)), names_(std::move(names)) {
    std::sort(names_.begin(), names_.end());
  }
  std::vector<std::string> names() const override { return names_; }
  bool contains(std::string_view name) const override { return std::binary_search(names_.begin(), names_.end(), name); }
  Blob open(std::string_view name) const override {
    if (!contains(name)) fail(ErrorKind::io, label(), "/", name, ": not one of this model's files");
    return set_->open(name);
  }
  std::string label() const override { return set_->label(); }

 private:
  std::shared_ptr<const FileSet> set_;
  std::vector<std::string> names_;
};

constexpr std::size_t kWriteSize = 64 << 20;                 // bytes a call
constexpr std::size_t kWorthCopying = std::size_t{1} << 20;  // bytes from which on it pays to ask where they come from

// True also for what cannot be waited for (a pipe).
bool reaches_disk(int descriptor) { return ::fsync(descriptor) == 0 || errno == EINVAL || errno == EROFS; }

}  // namespace

fs::path program_folder() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

Blob map_file(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail(ErrorKind::io, path.string(), ": cannot open: ", reason());
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail(ErrorKind::io, path.string(), ": cannot read: ", reason());
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::io, path.string(), ": not a regular file");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return {};
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) fail(ErrorKind::io, path.string(), ": cannot map ", size, " bytes: ", reason());
  std::shared_ptr<const void> owner(address, [size](const void* mapped) { ::munmap(const_cast<void*>(mapped), size); });
  return {{static_cast<const std::byte*>(address), size}, std::move(owner), /*mapped=*/true};
}

Blob memory_blob(std::string contents) {
  auto owner = std::make_shared<const std::string>(std::move(contents));
  return {std::as_bytes(std::span(*owner)), owner};
}

std::shared_ptr<const FileSet> open_directory(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) fail(ErrorKind::io, path.string(), ": no such directory");
  if (!fs::is_directory(path, error)) fail(ErrorKind::io, path.string(), ": not a directory");
  return std::make_shared<DirectoryFiles>(path);
}

std::shared_ptr<const FileSet> some_files(std::shared_ptr<const FileSet> set, std::vector<std::string> names) {
  return std::make_shared<SomeFiles>(std::move(set), std::move(names));
}

std::shared_ptr<const FileSet> memory_files(std::string label, const std::map<std::string, std::string>& files) {
  return std::make_shared<MemoryFiles>(std::move(label), files);
}

OutputFile::OutputFile(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  if (fs::exists(path_, error) && !fs::is_regular_file(path_, error))
    fail(ErrorKind::io, path_.string(), ": is not a file, and is left as it is");
  // What a link points to is replaced, not the link.
  if (fs::is_symlink(path_, error)) path_ = fs::weakly_canonical(path_, error);
  temporary_ = temporary_name(path_);
  error = parents_.make_below(path_, [&] {
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return descriptor_ < 0 ? std::error_code(errno, std::generic_category()) : std::error_code();
  });
  if (error) fail(ErrorKind::io, path_.string(), ": cannot write: ", error.message());
  ::flock(descriptor_, LOCK_EX | LOCK_NB);  // others leave it alone (remove_unfinished)
}

OutputFile::~OutputFile() { close_and_remove(); }

void OutputFile::close_and_remove() noexcept {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
  descriptor_ = -1;
}

void OutputFile::write(std::span<const std::byte> bytes) {
  SL_ASSERT(descriptor_ >= 0);
  if (bytes.size() >= kWorthCopying) bytes = bytes.subspan(copy_mapped(bytes, descriptor_));
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kWriteSize));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(ErrorKind::io, path_.string(), ": cannot write: ", reason());
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void OutputFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void OutputFile::commit(Durable durable) {
  SL_ASSERT(descriptor_ >= 0);
  const bool failed = durable == Durable::now && !reaches_disk(descriptor_);
  if (failed || ::rename(temporary_.c_str(), path_.c_str()) != 0)
    fail(ErrorKind::io, path_.string(), ": cannot finish writing: ", reason());
  ::close(descriptor_);
  descriptor_ = -1;
}

namespace {

// Weights with what says what they are: a model, or adapters.
bool holds_weights(const fs::path& directory) {
  std::error_code error;
  const bool described =
      fs::exists(directory / "config.json", error) || fs::exists(directory / "adapter_config.json", error);
  const auto stored = [](const fs::directory_entry& entry) { return entry.path().extension() == ".safetensors"; };
  return described && std::any_of(fs::directory_iterator(directory, error), fs::directory_iterator(), stored);
}

void check_replaceable(const fs::path& path, Overwrite overwrite, TargetKind kind) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  const bool directory = fs::is_directory(path, error);
  if (directory && kind == TargetKind::file)
    fail(ErrorKind::io, path.string(), ": is a directory; choose another name");
  if (!directory && kind == TargetKind::directory)
    fail(ErrorKind::io, path.string(), ": is a file, not a directory; choose another name");
  if (directory && fs::is_empty(path, error)) return;
  if (overwrite == Overwrite::no)
    fail(ErrorKind::io, path.string(), ": already exists; choose another name, or pass --overwrite");
  if (directory && !holds_weights(path))
    fail(ErrorKind::io, path.string(),
         ": --overwrite replaces a directory with a model or adapters in it (config.json ",
         "and .safetensors), and this one has none; choose another name, or remove it yourself");
}

fs::path checked_target(const fs::path& path, Overwrite overwrite, TargetKind kind) {
  fs::path whole = whole_path(path);
  check_replaceable(whole, overwrite, kind);
  return whole;
}

}  // namespace

OutputDirectory::OutputDirectory(const fs::path& path, Overwrite overwrite, TargetKind kind)
    : path_(checked_target(path, overwrite, kind)), overwrite_(overwrite), staging_(path_) {}

void OutputDirectory::write(std::string_view name, std::string_view text) {
  OutputFile file(staging() / name);
  file.write(text);
  file.commit(Durable::with_directory);
}

void OutputDirectory::sync() const {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(staging())) {
    if (!entry.is_regular_file()) continue;
    const Descriptor file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0 || !reaches_disk(file.get()))
      fail(ErrorKind::io, path_.string(), ": cannot finish writing ", entry.path().filename().string(), ": ", reason());
  }
}

void OutputDirectory::commit() {
  sync();
  std::error_code error;
  const fs::path old = replaced_name(path_);
  const bool replaces = fs::exists(path_, error);
  if (replaces) {
    check_replaceable(path_, overwrite_, TargetKind::directory);  // again: it may have appeared since
    fs::rename(path_, old, error);
    if (error) fail(ErrorKind::io, path_.string(), ": cannot replace: ", error.message());
  }
  fs::rename(staging(), path_, error);
  if (error) {
    std::error_code ignored;
    if (replaces) fs::rename(old, path_, ignored);
    fail(ErrorKind::io, path_.string(), ": cannot rename into place: ", error.message());
  }
  staging_.renamed();
  if (replaces) fs::remove_all(old, error);
}

std::string read_text(const fs::path& path) { return std::string(map_file(path).text()); }

void write_text(const fs::path& path, std::string_view text) {
  OutputFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace streamline
