// SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <algorithm>
#include <exception>
#include <new>

#include "options.h"
#include "rank_group.h"
#include "recipe.h"
#include "streamline/base/error.h"
#include "streamline/base/version.h"
#include "streamline/report/report.h"

namespace streamline::cli {
namespace {

std::vector<const Command*> commands() {
  return {
#define COMMAND(name) &name##_command::command(),
#include "commands.def"
#undef COMMAND
  };
}

void check_ranks(const Command& command) {
  if (ranks().alone() || command.in_ranks) return;
  std::string able;
  for (const Command* other : commands())
    if (other->in_ranks) able += (able.empty() ? "" : ", ") + other->name;
  fail(ErrorKind::usage, "'", command.name, "' is the work of one process, and WORLD_SIZE says ", ranks().size(),
       "; start it without torchrun (several ranks share ", able, ")");
}

struct Declared {
  const Command* command;
  Arguments arguments;
  std::function<Output()> run;
};

std::vector<Declared> declare(Program& program) {
  std::vector<Declared> declared;
  for (const Command* command : commands()) {
    Arguments arguments = program.add_command(command->name, command->summary, "Examples:\n" + command->examples);
    auto run = command->declare(arguments);
    if ((arguments.has("MODEL") || arguments.has("MODELS")) && !arguments.has(kRecipeOption))
      add_recipe_option(arguments);
    declared.push_back({command, arguments, std::move(run)});
  }
  return declared;
}

// Of the words, those that name the program, the command, and its action.
std::size_t naming_words(const std::vector<std::string>& words, const std::vector<Declared>& declared) {
  const auto named = [&](const Declared& one) { return words.size() > 1 && one.command->name == words[1]; };
  const auto command = std::ranges::find_if(declared, named);
  return command != declared.end() && command->arguments.has_actions() ? 3 : 2;
}

// What the file of a recipe got wrong is told with its place there.
std::optional<std::string> parse(Program& program, const RecipeWords& recipe) {
  try {
    return program.parse(recipe.words);
  } catch (const Error& error) {
    const std::string place = place_of(error.what(), recipe);
    if (place.empty()) throw;
    fail(error.kind(), place, error.what());
  }
}

// libtorch's messages carry a stack trace below their first line.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

Answer run(const std::vector<std::string>& words) {
  remember_command_line(words);
  Program program(
      "streamline",
      "streamline: makes large language models smaller by taking out the layers they do not need and healing what that "
      "breaks.",
      "streamline " + std::string(program_version()));
  const std::vector<Declared> declared = declare(program);
  if (const auto answer = parse(program, with_recipe(words, naming_words(words, declared))))
    return {.output = {.json = nullptr, .text = *answer}};
  for (const auto& [command, arguments, run] : declared) {
    if (!arguments.chosen()) continue;
    check_ranks(*command);
    return {.output = run(), .as_json = arguments.given("--json")};
  }
  fail(ErrorKind::internal, "no command ran");
}

Failure current_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return {exit_status(error.kind()), error.what()};
  } catch (const c10::Error& error) {
    return {1, "libtorch: " + first_line(error.what_without_backtrace())};
  } catch (const std::bad_alloc&) {
    return {1, "out of memory; use a smaller --seq-len or a smaller batch, or close other programs"};
  } catch (const std::exception& error) {
    return {1, first_line(error.what())};
  }
}

}  // namespace streamline::cli
