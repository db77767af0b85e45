// SPDX-License-Identifier: Apache-2.0
// In which form a result is written: the export ladder, and who loads what.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "streamline/arch/config_write.h"
#include "streamline/io/checkpoint.h"

namespace streamline {

enum class Format {
  automatic,  // that of the source; of an ordinary source an ordinary checkpoint, halves without partner beside zeros
  ordinary,   // that, and never the extension of config.json
  decilm,     // DeciLM: halves that went leave nothing behind
  per_layer,  // the same by `per_layer_config`
};

// "auto", "ordinary", "decilm", "per-layer". Errors: usage, listing them.
Format parse_format(std::string_view name);
std::vector<std::string> format_names();
std::string_view form_name(LayerForm form);  // "ordinary", "decilm", "per-layer"

// The form of what is made of this model. Errors: unsupported (usage for a GGUF file), one line that says why the model
// cannot be written like that and what works instead.
LayerForm resolve_form(const Checkpoint& source, const Config& config, Format format);

// Who loads a checkpoint with this configuration, for people.
std::vector<std::string> loading_notes(const Config& written);
// Why it is none for llama.cpp, and for mlx-lm where that goes wrong with it; empty where nothing speaks against it.
std::string llama_cpp_note(const Config& written);

}  // namespace streamline
