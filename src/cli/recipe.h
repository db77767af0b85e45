// SPDX-License-Identifier: Apache-2.0
// A run as a file: the options of one command in YAML, which stand where the command line says nothing of its own.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "arguments.h"

namespace streamline::cli {

// The option that names such a file.
inline constexpr const char* kRecipeOption = "--config";
// Declares it for the help of a command: with_recipe() reads it for all of them, before their own options are read.
void add_recipe_option(Arguments& arguments);

struct RecipeWords {
  std::vector<std::string> words;
  std::vector<std::pair<std::string, std::string>> places = {};  // of the file's options: "--cut" and "run.yaml:3"
};

// words, with "--config FILE" replaced by what the file says: a mapping from option names (without dashes; "model" for
// the model, "models" for several) to a value, a list, or true; "command", if it is there, says of which command. What
// the words give themselves is left out, and so is what cannot stand beside it, as another size of a cut. `names`: the
// words that name the program, the command and its action, where it has any. Errors: io, format (not YAML, not such a
// mapping), usage (--config without a file, or twice; a file of another command).
RecipeWords with_recipe(std::vector<std::string> words, std::size_t names = 2);
// "run.yaml:3: " of the first option that a message names, where it came of the file; else empty.
std::string place_of(const std::string& message, const RecipeWords& recipe);

// Where it lies in what a command wrote.
inline constexpr const char* kRecipeFile = "streamline/recipe.yaml";
// A file that with_recipe() reads back to these, and refuses to any other command.
std::string recipe_text(const std::string& command, const GivenOptions& options);

}  // namespace streamline::cli
