// SPDX-License-Identifier: Apache-2.0
// What stays of the inside of a layer: whole groups of heads (a key and value head with the query heads that read it)
// and channels of the MLP (a row of gate and up with its column of down). The residual stream keeps its width.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "streamline/arch/config.h"
#include "streamline/base/error.h"

namespace streamline {

// Units 0 … of-1 of a half, of which those in `kept` stay, in ascending order. -1 stands for a unit of zeros where
// tensors are padded (padded_slice()); plans have none.
struct KeptUnits {
  std::int64_t of = 0;
  std::vector<std::int64_t> kept = {};

  std::int64_t count() const { return static_cast<std::int64_t>(kept.size()); }
  std::int64_t removed() const { return of - count(); }
  bool operator==(const KeptUnits&) const = default;
};

struct LayerSlice {
  std::optional<KeptUnits> kv_heads = {};  // absent: the attention is whole
  // Empty: the MLP is whole. One entry: of the MLP, or of every expert alike; else an entry an expert, all of one
  // count. An expert that all tokens share stays whole.
  std::vector<KeptUnits> channels = {};

  bool empty() const { return !kv_heads && channels.empty(); }
  bool operator==(const LayerSlice&) const = default;
};

// Errors, naming `where`: mismatch for units that are not the layer's, not ascending, or none at all; unsupported for
// heads of an attention whose norm goes over all heads together (QkNorm::whole), where no slice computes the same.
void check_slice(const LayerConfig& layer, const LayerSlice& slice, const std::string& where);

// The layer with what stays.
LayerConfig sliced_layer(LayerConfig layer, const LayerSlice& slice);

// The slice of a layer that was cut by `first` and then by `second`.
LayerSlice composed(const LayerSlice& first, const LayerSlice& second);

// The slice that keeps all of a layer.
LayerSlice whole_slice(const LayerConfig& layer);

// The same with units of zeros up to so many key and value heads and channels.
LayerSlice padded_slice(const LayerConfig& layer, LayerSlice slice, std::int64_t kv_heads, std::int64_t channels);

// What is taken of a tensor of the layer: rows (dimension 0, [out, in]) or columns by index, -1 for zeros; nullopt
// where the slice leaves it whole. `part` bias: of dimension 0 alone.
struct TensorCut {
  int dimension = 0;
  std::vector<std::int64_t> indices = {};
};
std::optional<TensorCut> tensor_cut(const LayerConfig& layer, const LayerSlice& slice, Role role, Part part,
                                    std::int64_t expert = -1);

// Query heads as groups. Errors: `kind`, naming the nearest numbers that are whole groups, where `heads` query heads
// are none.
std::int64_t kv_heads_of(const AttentionConfig& attention, std::int64_t heads, const std::string& where,
                         ErrorKind kind = ErrorKind::mismatch);
// The same of a list of query heads, which must be all those of their groups.
KeptUnits groups_of_heads(const AttentionConfig& attention, const std::vector<std::int64_t>& heads,
                          const std::string& where);

// "0..3,7": the indices in short, and back. Errors: format, naming `where`, for what is no such list, not ascending, or
// ends beyond `of`.
std::string index_ranges(const std::vector<std::int64_t>& indices);
std::vector<std::int64_t> parse_index_ranges(const std::string& text, std::int64_t of, const std::string& where);

}  // namespace streamline
