// SPDX-License-Identifier: Apache-2.0
// A checkpoint opened for reading: named tensors as views of mapped files, and config.json (or what stands for it).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "streamline/io/dtype.h"

namespace streamline {

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::string file;          // which file of the set
  std::uint64_t offset = 0;  // from the start of that file, bytes
  std::uint64_t size = 0;    // bytes
  // How the stored rows differ from the values that the tensor stands for; GGUF has such (read_rows() undoes it).
  std::int64_t interleaved_heads = 0;  // > 0: in each of so many heads, row 2j is row j, row 2j + 1 is row j + half
  float stored_offset = 0;             // was added to the values
  // Factors of the stored elements (FP8), in a tensor of their own: each is that of so many rows and columns.
  std::string factors = {};
  std::int64_t factor_rows = 0, factor_columns = 0;

  std::int64_t elements() const;
  // Whether the bytes are the elements, one after the other.
  bool is_plain() const {
    return !is_quantised(dtype) && interleaved_heads == 0 && stored_offset == 0 && factors.empty();
  }
};

// Read-only. Opening maps and validates headers and touches no weights: milliseconds at any size.
class Checkpoint {
 public:
  // The weights are `model.safetensors`, or the shards that `model.safetensors.index.json` names; other files are
  // not looked at. Errors: io, format, unsupported (each naming the file and what to do).
  static std::shared_ptr<const Checkpoint> open(std::shared_ptr<const FileSet> files);
  static std::shared_ptr<const Checkpoint> open(const std::filesystem::path& directory);

  // Of another container, read and checked by the caller: each tensor lies in the blob that has its file's name.
  struct Parts {
    std::string label;
    std::shared_ptr<const FileSet> files;
    Json config;
    std::vector<TensorInfo> tensors;
    std::vector<std::pair<std::string, Blob>> blobs;
  };
  static std::shared_ptr<const Checkpoint> of(Parts parts);

  // The same files, with the tensors described otherwise (see TensorInfo's last fields); names and places stay.
  std::shared_ptr<const Checkpoint> described_as(std::vector<TensorInfo> tensors) const;

  // The same checkpoint with another config.json and with these tensors beside its own, or in the place of those of
  // their names; each is all of its blob. digest() stays this one's: a plan for this one is one for the other.
  std::shared_ptr<const Checkpoint> extended(Json config, std::vector<std::pair<TensorInfo, Blob>> tensors) const;

  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // sorted by name
  const TensorInfo* find(std::string_view name) const;                 // nullptr when absent
  const TensorInfo& at(std::string_view name) const;                   // error: mismatch, "no tensor named …"
  std::span<const std::byte> bytes(const TensorInfo& tensor) const;
  std::span<const std::byte> mapped_bytes(const TensorInfo& tensor) const;  // the same; none where no file is mapped
  const Json& config() const { return config_; }                            // config.json, keys in their order
  const FileSet& files() const { return *files_; }
  std::shared_ptr<const FileSet> shared_files() const { return files_; }
  const std::string& label() const { return label_; }  // for messages: the directory, or the GGUF file
  // For messages: the file that a tensor is in, and what config() was read from.
  std::string path_of(const TensorInfo& tensor) const { return files_->label() + "/" + tensor.file; }
  std::string config_label() const { return safetensors_ ? label_ + "/config.json" : label_; }
  bool is_safetensors() const { return safetensors_; }
  std::uint64_t total_bytes() const;
  // SHA-256 over names, dtypes, shapes and a sample of each tensor's bytes (first and last 4 KiB): cheap, and
  // different for any two checkpoints met in practice. Recorded in plans.
  std::string digest() const;

 private:
  const Blob& blob_of(const TensorInfo& tensor) const;
  std::string label_;
  bool safetensors_ = true;
  std::shared_ptr<const FileSet> files_;
  Json config_;
  std::vector<TensorInfo> tensors_;
  std::vector<std::pair<std::string, Blob>> blobs_;  // sorted by file name
  std::string digest_;                               // of what this one was extended from; empty: computed
};

// Errors: numeric, naming the first tensor that holds NaN or infinity. Reads every weight.
void check_finite(const Checkpoint& checkpoint);

}  // namespace streamline
