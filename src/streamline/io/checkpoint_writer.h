// SPDX-License-Identifier: Apache-2.0
// Writes a Hugging Face checkpoint directory: shards, index, and whatever files go beside them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/io/safetensors.h"

namespace streamline {

// A tensor to write: what it is, and its bytes on demand (a view of a source file, or freshly computed ones).
struct TensorSource {
  TensorHeader header;
  std::function<Blob()> bytes;
};

struct ShardOptions {
  std::uint64_t max_shard_size = 5'000'000'000;      // bytes of tensor data a file
  std::map<std::string, std::string> metadata = {};  // beside {"format": "pt"}
};

// Writes `model.safetensors`, or `model-0000k-of-0000N.safetensors` and, last, `model.safetensors.index.json` with
// metadata.total_size. One tensor larger than max_shard_size gets a shard of its own. Tensors keep the given order, but
// for wider element types first in each file. One tensor's bytes are asked for at a time. Errors: io.
void write_tensors(OutputDirectory& out, const std::vector<TensorSource>& tensors, const ShardOptions& options);

// "5GB", "500MB", "1.5GiB" or plain bytes, in either case. Errors: usage.
std::uint64_t parse_size(const std::string& text);

}  // namespace streamline
