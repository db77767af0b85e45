// SPDX-License-Identifier: Apache-2.0
// Folding: a trained replacement written as an ordinary layer of the family wherever that is exact, so that every
// runtime loads it; else as an entry of the extension of config.json (docs/formats.md).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "streamline/arch/config_write.h"
#include "streamline/engine/model.h"
#include "streamline/io/checkpoint_writer.h"

namespace streamline {

struct FoldedLayer {
  std::int64_t source = 0;                    // source layer whose shape and window it takes
  std::optional<LayerConfig> extension = {};  // present when it is not an ordinary layer
  std::optional<LayerConfig> shape = {};      // as stored, in other forms than LayerForm::ordinary
  std::vector<TensorSource> tensors = {};
  std::string note = {};  // what folding cost, for people; empty when it cost nothing
};

// The replacement of the window that starts at `first`, as layer `index` of the result. Exact: an absent attention
// becomes an output projection of zeros (the residual stream passes unchanged), a narrower MLP is padded with zeros. In
// other forms than LayerForm::ordinary an absent half is left out. Values are rounded to stored_type(config). Errors:
// those of check_form(); unsupported when neither an ordinary layer nor the extension can hold it, numeric when a
// rounded value is not finite, mismatch when a shape does not fit.
FoldedLayer fold_layer(const Config& config, const LayerWeights& weights, std::int64_t first, std::int64_t index,
                       LayerForm form = LayerForm::ordinary);

// Errors: unsupported, one line, where a replacement of this shape at layer `first` cannot be stored in the form.
// LayerForm::ordinary takes all.
void check_form(const Config& config, const LayerConfig& replacement, std::int64_t first, LayerForm form);

// The layer of the source whose shape a replacement at `first` takes: the nearest that has both halves; -1 when there
// is none.
std::int64_t mould_near(const Config& config, std::int64_t first);

// Whether `layer` can be written exactly as a layer shaped like `mould`.
bool folds_into(const LayerConfig& layer, const LayerConfig& mould);

// A tensor to write from a tensor in memory.
TensorSource tensor_source(std::string name, const torch::Tensor& value);

}  // namespace streamline
