// SPDX-License-Identifier: Apache-2.0
// A run as a file: the options of one command in YAML, which stand where the command line says nothing of its own.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "arguments.h"

namespace streamline::cli {

// The option that names such a file; commands that take one declare it for their help.
inline constexpr const char* kRecipeOption = "--config";

struct RecipeWords {
  std::vector<std::string> words;
  std::vector<std::pair<std::string, std::string>> places = {};  // of the file's options: "--cut" and "run.yaml:3"
};

// words, with "--config FILE" replaced by what the file says: a mapping from option names (without dashes; "model" for
// the model) to a value, a list, or true. What the words give themselves is left out. Errors: io, format (not YAML, not
// such a mapping), usage (--config without a file, or twice).
RecipeWords with_recipe(std::vector<std::string> words);
// "run.yaml:3: " of the first option that a message names, where it came of the file; else empty.
std::string place_of(const std::string& message, const RecipeWords& recipe);

// A file that with_recipe() reads back to these.
std::string recipe_text(const GivenOptions& options);

}  // namespace streamline::cli
