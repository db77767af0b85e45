// SPDX-License-Identifier: Apache-2.0
// Writes a model as a GGUF file that llama.cpp computes as this program does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/engine/model.h"
#include "streamline/io/gguf_fields.h"
#include "streamline/io/gguf_writer.h"

namespace streamline {

struct ExportOptions {
  DType type = DType::f16;   // of the matrices: F32, F16, BF16, Q8_0, Q4_0
  std::int64_t context = 0;  // positions that the file claims; 0: those of the model
  Overwrite overwrite = Overwrite::no;
  GgufFields vocabulary = {};  // what add_gguf_vocabulary() says
  GgufFields fields = {};      // beside those of the model
  std::vector<GgufTensor> tensors = {};
};

struct ExportedGguf {
  std::string architecture;
  std::int64_t layers = 0, parameters = 0;
  std::uint64_t bytes = 0;                      // of the file
  std::map<std::string, std::int64_t> tensors;  // how many of each stored type
  double largest_logit_difference = 0;          // read back against the model, relative to the largest logit
  std::vector<std::string> notes;
};

// What is refused before anything is read or written: usage for another type or context; unsupported, one line, for
// models that llama.cpp would compute differently.
void check_export(const Config& config, const ExportOptions& options, const std::string& where);

// Nothing is left when it fails; the file has its name only when it is whole and was read back. Errors: those of
// check_export(); io (also when the file is there), resource (disk); numeric for weights that the type cannot hold.
ExportedGguf export_gguf(const Model& source, const std::filesystem::path& file, const ExportOptions& options);

}  // namespace streamline
