// SPDX-License-Identifier: Apache-2.0
// Adapters as the `peft` library keeps them: adapter_config.json and adapter_model.safetensors.
#pragma once

#include <filesystem>
#include <string>

#include "streamline/heal/adapters.h"
#include "streamline/surgery/apply.h"

namespace streamline {

// Tensors are "base_model.model.<module>.lora_A.weight" and "….lora_B.weight", fp32; the file's metadata, which `peft`
// passes over, say the digest of the model's weights. `base_model`: where `peft` shall look for the model. The
// directory must be there. Errors: io.
void write_peft(const std::filesystem::path& directory, const Adapters& adapters, const Model& model,
                const std::string& base_model);

// Errors: io; unsupported for more than plain LoRA (DoRA), and for adapters that began with another base (PiSSA, LoftQ
// …); format for files that are broken, that hold biases or adapters of embeddings, or that name modules the model does
// not have; mismatch for shapes that are not those of its matrices, and, unless any weights will do, for adapters of
// which this program wrote that they were trained on others.
Adapters read_peft(const std::filesystem::path& directory, const Model& model, AnyWeights any_weights = AnyWeights::no);

// The model that the files say they are for.
struct PeftBase {
  std::string model = {};   // as adapter_config.json names it
  std::string digest = {};  // of its weights, where this program wrote the files
};
// What they do not say is empty. Errors: io, format.
PeftBase read_peft_base(const std::filesystem::path& directory);

}  // namespace streamline
