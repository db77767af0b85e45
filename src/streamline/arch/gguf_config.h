// SPDX-License-Identifier: Apache-2.0
// The hyper-parameters of a GGUF file, in the words of config.json.
#pragma once

#include <span>
#include <vector>

#include "streamline/arch/family.h"
#include "streamline/arch/gguf_rope.h"
#include "streamline/io/gguf.h"

namespace streamline {

// The family of "general.architecture". Errors: unsupported naming it.
const Family& gguf_family(const Gguf& gguf);

// A config.json that says what the metadata and the tensors (of all parts, under GGUF's names) say. `factors`:
// what the tensors of rotary factors hold. Errors: unsupported for a key under the architecture's name that we
// do not know, for values that differ from layer to layer, and for RoPE factors that are not Llama 3's; format.
Json gguf_config(const Gguf& gguf, const Family& family, std::span<const TensorInfo> tensors,
                 const RopeFactors& factors);

}  // namespace streamline
