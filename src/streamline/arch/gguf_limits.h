// SPDX-License-Identifier: Apache-2.0
// What cannot be said in a GGUF file: llama.cpp would load it and compute something else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "streamline/arch/config.h"

namespace streamline {

// Whether a list of the layers that slide may be written: releases of llama.cpp that do not read it take the usual
// period without a word, so only for who reads a file that has one.
enum class WindowList { no, yes };

// `context`: positions that the file will claim. Errors: unsupported, one line, `where` (with what cannot be done) and
// the reason behind it, for a model that llama.cpp has no architecture for, or whose architecture there computes
// something else.
void check_gguf_limits(const Config& config, std::int64_t context, const std::string& where,
                       WindowList list = WindowList::no);

// The same for the factor of the attention scores, which an export folds into the weights (gguf_layout.h) and a cut of
// a GGUF file cannot.
void check_gguf_scores(const Config& config, const std::string& where);

// The reason alone, for whoever makes a file with a program that does not look; empty where there is none, or nothing
// is known of the family in llama.cpp. What depends on a text's length is left out: a cut does not bring it about.
std::string why_not_gguf(const Config& config);

std::vector<bool> sliding_layers(const Config& config);
// The first layer that has a window where the family's period (FamilyDefaults::window_period) has none, or the other
// way round; nothing where all follow it, or it has no period.
std::optional<std::size_t> layer_off_period(const Config& config);

// The n of which every n-th layer has experts and no other; 0 where they stand otherwise.
std::int64_t sparse_step(const Config& config);

}  // namespace streamline
