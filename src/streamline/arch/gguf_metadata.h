// SPDX-License-Identifier: Apache-2.0
// A configuration as GGUF metadata: the keys under the architecture's name, as llama.cpp's converter writes them.
#pragma once

#include <cstdint>
#include <vector>

#include "streamline/arch/config.h"
#include "streamline/arch/gguf_rope.h"
#include "streamline/io/gguf_fields.h"

namespace streamline {

// The model has passed check_gguf_limits(). `context`: positions that the file claims.
void add_gguf_metadata(const Config& config, std::int64_t context, GgufFields& fields);

// The tensors of rotary factors that the file needs; empty for most models.
RopeFactors gguf_rope_factors(const Config& config);

}  // namespace streamline
