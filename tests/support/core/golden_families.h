// SPDX-License-Identifier: Apache-2.0
// The directories of the reference folder's golden checkpoints.
#pragma once

namespace streamline::test {

constexpr const char* kGoldenFamilies[] = {"llama2",     "llama3",   "mistral",   "qwen2",       "qwen3",
                                           "opt",        "opt_350m", "gemma2",    "gemma3_text", "granite",
                                           "smollm3",    "olmo2",    "olmo3",     "phi",         "phi3",
                                           "starcoder2", "gpt2",     "gpt2_bare", "falcon",      "cohere2",
                                           "glm4",       "mixtral",  "gpt_neox",  "baichuan2",   "gpt_neox_sequential",
                                           "qwen2_moe",  "qwen3_moe"};

}  // namespace streamline::test
