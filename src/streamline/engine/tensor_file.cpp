// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/tensor_file.h"

#include <algorithm>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/io/safetensors.h"
#include "streamline/nn/tensor_bytes.h"

namespace streamline {

TensorFile::TensorFile(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  std::vector<TensorHeader> headers;
  for (const auto& [name, tensor] : tensors) {
    values_.push_back(tensor.detach().to(torch::kCPU).contiguous());
    headers.push_back({name, stored_dtype(tensor.scalar_type()), tensor.sizes().vec()});
  }
  header_ = safetensors_header(headers, metadata);
}

std::uint64_t TensorFile::bytes() const {
  std::uint64_t total = header_.size();
  for (const torch::Tensor& value : values_) total += value.nbytes();
  return total;
}

void TensorFile::write(const std::filesystem::path& path, Durable durable) const {
  OutputFile file(path);
  file.write(header_);
  for (const torch::Tensor& value : values_) file.write(bytes_of(value));
  file.commit(durable);
}

std::string TensorFile::write_digested(const std::filesystem::path& path) const {
  Sha256 digest;
  digest.update(header_);
  for (const torch::Tensor& value : values_) digest.update(bytes_of(value));
  write(path);
  return digest.hex();
}

torch::Tensor read_tensor(const TensorInfo& tensor, const Blob& file) {
  if (!tensor.is_plain()) fail(ErrorKind::format, tensor.file, ": '", tensor.name, "' is ", dtype_name(tensor.dtype));
  auto value = torch::empty(tensor.shape, scalar_type(tensor.dtype));
  std::copy_n(file.bytes.data() + tensor.offset, tensor.size, static_cast<std::byte*>(value.mutable_data_ptr()));
  return value;
}

}  // namespace streamline
