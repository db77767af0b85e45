// SPDX-License-Identifier: Apache-2.0
// Which tensors a GGUF file of a model has: names, shapes, and how their values come from the checkpoint's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "streamline/arch/config.h"
#include "streamline/io/gguf_writer.h"

namespace streamline {

// A tensor of a GGUF file as rows of one tensor of the checkpoint, or of several after one another.
struct GgufLayoutTensor {
  std::string name;                        // "blk.7.attn_q.weight"
  std::vector<std::int64_t> shape;         // the longest stride first
  std::vector<const TensorInfo*> sources;  // of the checkpoint; several: one an expert; none: zeros
  std::vector<std::int64_t> row_order =
      {};                   // row i is the source's row row_order[i]; empty: the same. (Of a bias: element.)
  bool transposed = false;  // the source is stored [in, out], or is a stack of such matrices
  std::int64_t column = 0;  // of a transposed source, that becomes the first row
  float offset = 0;         // is added to every value
  float factor = 1;         // then multiplies it
  bool always_f32 = false;  // norms, biases, routers and position tables
};

// In the order of a file: embedding, final norm, head, then layer by layer. The model has passed check_gguf_limits().
// The tensors point into `checkpoint`. Errors: mismatch for a tensor that is missing.
std::vector<GgufLayoutTensor> gguf_layout(const Checkpoint& checkpoint, const Config& config, std::int64_t context);

// A layer as it is stored: where there is no MLP, one of zeros stands, because llama.cpp loses the attention of a layer
// that has none.
LayerConfig gguf_stored_layer(const LayerConfig& layer, const Config& config);

// Those of one layer. `checkpoint` needs to hold no more than the layer's tensors.
std::vector<GgufLayoutTensor> gguf_layer(const Checkpoint& checkpoint, const Config& config, std::int64_t layer);

// In what type a tensor is stored when matrices are to be of `type`: rows that are no whole blocks are float16.
DType gguf_stored_type(const GgufLayoutTensor& tensor, DType type);

// The tensor as it is written in that type. Values are read, changed and rounded piece by piece when they are asked
// for, several pieces at a time with more `threads` than one. `checkpoint` must outlive it. Errors, then: numeric for
// values beyond the type, naming the tensor.
GgufTensor gguf_tensor(const Checkpoint& checkpoint, const GgufLayoutTensor& tensor, DType type, int threads);

}  // namespace streamline
