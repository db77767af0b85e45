// SPDX-License-Identifier: Apache-2.0
// A GGUF file being written, with files beside it: under a temporary name, read back and compared, then renamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/engine/model.h"
#include "streamline/io/gguf_writer.h"

namespace streamline {

// What rounding may cost. What it makes of the logits in the end depends on the model, not on the type alone: each
// layer adds to it. A layer by itself tells a tensor in the wrong place from one that was rounded.
struct AllowedDifference {
  double logits = std::numeric_limits<double>::infinity();  // largest difference / largest logit
  // Of what a layer adds to the same hidden states, of the embedding, and of the logits of the same hidden states: norm
  // of the difference / norm, the median over the tokens.
  double layer = std::numeric_limits<double>::infinity();
};

class GgufOutput {
 public:
  // Errors: usage for a name that does not end in ".gguf"; io when the target exists and may not be overwritten.
  GgufOutput(const std::filesystem::path& file, Overwrite overwrite);

  // Writes the file; returns its bytes. Errors: resource when the disk is too small; io.
  std::uint64_t write(const GgufFields& fields, const std::vector<GgufTensor>& tensors);
  // Reads the written file and compares it with `expected`: its logits on as many tokens as it has positions, at most
  // 24, and what each layer does by itself. Returns the largest difference of the logits relative to the largest logit.
  // Errors: internal when more than is allowed is different, or the file is not what it should be; numeric when logits
  // of `expected` are NaN or infinite and so is a weight.
  double check(const Model& expected, const AllowedDifference& allowed) const;
  // Where to put files that appear together with this one: "report.json" as NAME.report.json beside NAME.gguf.
  OutputDirectory& directory() { return directory_; }
  std::string name_beside(std::string_view name) const;
  // Renames everything, the GGUF file last.
  void commit();

 private:
  std::filesystem::path file_;
  Overwrite overwrite_;
  OutputDirectory directory_;
};

}  // namespace streamline
