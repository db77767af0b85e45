// SPDX-License-Identifier: Apache-2.0
// What cannot be said in a GGUF file: llama.cpp would load it and compute something else.
#pragma once

#include <cstdint>
#include <string>

#include "streamline/arch/config.h"

namespace streamline {

// Whether a list of the layers that slide may be written: releases of llama.cpp that do not read it take the usual
// period without a word, so only for who reads a file that has one.
enum class WindowList { no, yes };

// `context`: positions that the file will claim. Errors: unsupported, one line that begins with `where`, for a model
// that llama.cpp has no architecture for, or whose architecture there computes something else.
void check_gguf_limits(const Config& config, std::int64_t context, const std::string& where,
                       WindowList list = WindowList::no);

// The same for the factor of the attention scores, which an export folds into the weights (gguf_layout.h) and a cut of
// a GGUF file cannot.
void check_gguf_scores(const Config& config, const std::string& where);

std::vector<bool> sliding_layers(const Config& config);

// The n of which every n-th layer has experts and no other; 0 where they stand otherwise.
std::int64_t sparse_step(const Config& config);

}  // namespace streamline
