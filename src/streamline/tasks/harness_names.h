// SPDX-License-Identifier: Apache-2.0
// Names in files of other evaluation programs.
#pragma once

#include <string>
#include <string_view>

namespace streamline {

// The benchmark that a set belongs to where its file does not say: "mmlu" for "mmlu_anatomy" and
// "lukaemon_mmlu_anatomy", "cmmlu" for "cmmlu-agronomy"; else the set itself.
std::string benchmark_of(std::string_view set);

// A model's name as a folder: each run of characters that file systems or shells dislike becomes "__", as
// lm-evaluation-harness has it.
std::string model_folder(std::string_view model);

}  // namespace streamline
