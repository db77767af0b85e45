// SPDX-License-Identifier: Apache-2.0
// The factor of Gemma's attention scores, which GGUF files do not store.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "streamline/arch/config.h"

namespace streamline {

// Gemma's scores are divided by the root of the head size, but in its 27B models of that of hidden size over heads;
// llama.cpp knows these by their depth. What it takes the root of.
std::int64_t gguf_attention_root(std::string_view arch, std::int64_t layers, std::int64_t hidden, std::int64_t heads,
                                 std::int64_t head_dim);

// By what the queries have to be multiplied so that llama.cpp's scores are the model's.
double gguf_score_factor(const Config& config);

}  // namespace streamline
