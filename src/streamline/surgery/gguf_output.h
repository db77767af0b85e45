// SPDX-License-Identifier: Apache-2.0
// A GGUF file being written, with files beside it: under a temporary name, read back and compared, then renamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/engine/model.h"
#include "streamline/io/gguf_writer.h"

namespace streamline {

class GgufOutput {
 public:
  // Errors: usage for a name that does not end in ".gguf"; io when the target exists and may not be overwritten.
  GgufOutput(const std::filesystem::path& file, Overwrite overwrite);

  // Writes the file; returns its bytes. Errors: resource when the disk is too small; io.
  std::uint64_t write(const GgufFields& fields, const std::vector<GgufTensor>& tensors);
  // Reads the written file and compares its logits, on as many tokens as it has positions, at most 24, with those of
  // `expected`. Returns their largest difference relative to the largest logit. Errors: internal when it is above
  // `tolerance`, or the file is not what it should be.
  double check(const Model& expected, double tolerance) const;
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
