// SPDX-License-Identifier: Apache-2.0
// A model's files, whatever container they come in.
#pragma once

#include <filesystem>
#include <memory>

#include "streamline/io/checkpoint.h"

namespace streamline {

// A Hugging Face directory, a GGUF file (any part of a split one), or a directory whose only model is GGUF. Of GGUF the
// tensors have the names of the family's Hugging Face checkpoints, and config() is what config.json would say; files()
// are the GGUF files alone. Errors: io, format, unsupported, mismatch.
std::shared_ptr<const Checkpoint> open_checkpoint(const std::filesystem::path& model);

// The GGUF model of a set that has this name (see open_gguf()).
std::shared_ptr<const Checkpoint> open_gguf_checkpoint(std::shared_ptr<const FileSet> files, const std::string& name);

}  // namespace streamline
