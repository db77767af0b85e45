// SPDX-License-Identifier: Apache-2.0
// Tensors in a safetensors file of our own: what a plan's weights, a training state and a cache of hidden states are.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/io/checkpoint.h"
#include "streamline/nn/torch.h"

namespace streamline {

using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

// A file before it is written.
class TensorFile {
 public:
  // Tensors of any device and layout; those that do not lie on the CPU in one piece are copied.
  TensorFile(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata);

  std::uint64_t bytes() const;
  // Errors of both: io.
  void write(const std::filesystem::path& path, Durable durable = Durable::now) const;
  std::string write_digested(const std::filesystem::path& path) const;  // the SHA-256 of the whole file

 private:
  std::string header_;
  std::vector<torch::Tensor> values_;
};

// A copy of one tensor of such a file, in its stored type. Errors: format for one that is not plain.
torch::Tensor read_tensor(const TensorInfo& tensor, const Blob& file);

}  // namespace streamline
