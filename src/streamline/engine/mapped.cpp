// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/mapped.h"

#include <cstring>

namespace streamline {

torch::Tensor mapped_tensor(std::shared_ptr<const Checkpoint> checkpoint, const TensorInfo& info) {
  const auto bytes = checkpoint->bytes(info);
  const auto options = torch::TensorOptions(scalar_type(info.dtype));
  const bool aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % dtype_size(info.dtype) == 0;
  if (bytes.empty() || !aligned) {
    auto copy = torch::empty(info.shape, options);
    if (!bytes.empty()) std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
    return copy;
  }
  void* data = const_cast<std::byte*>(bytes.data());  // torch has no tensors of const
  return torch::from_blob(
      data, info.shape, [keep = std::move(checkpoint)](void*) {}, options);
}

}  // namespace streamline
