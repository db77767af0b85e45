// SPDX-License-Identifier: Apache-2.0
// The metadata of a GGUF file after some of its layers went.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "streamline/io/gguf_fields.h"

namespace streamline {

// The file's entries with `block_count`, counts of leading layers and every array that has a value a layer changed;
// "split." entries are left out, all others are as they were. `layers`: for each layer of the result the one of the
// file whose values it takes, in ascending order. What was cut to these layers is named in `notes`.
// Errors: format for a file without architecture or block_count; unsupported for counts of layers from the end.
GgufFields sliced_gguf_metadata(const Gguf& gguf, std::span<const std::int64_t> layers,
                                std::vector<std::string>& notes);

}  // namespace streamline
