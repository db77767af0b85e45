// SPDX-License-Identifier: Apache-2.0
// The books that come with the program (models/text): what methods look at and what is measured on, where no text is
// named. Nothing is trained on them.
#pragma once

#include <optional>
#include <string>

#include "shared_options.h"

namespace streamline::cli {

struct EvaluationOptions;

// Windows of the shipped text that are measured where nothing says how many: of all of it a large model would take
// hours.
constexpr std::int64_t kShippedWindows = 64;

// Where a file of them lies: in share/streamline/text of the installation that the running program is part of, else in
// models/text of the checkout that it was built in. Nothing where it is in neither.
std::optional<std::string> shipped_file(const std::string& name);
// What records call it, which is the same on every machine: "shipped/valid.txt". `source`: what its reader calls it,
// the path with what may follow it, as " (held-out part)".
std::string shipped_name(const std::string& path, const std::string& source);

// Takes the books for choosing where no text is named, sequences drawn from all of them. Errors: usage where they are
// not there.
void take_shipped_text(DataOptions& data);
// Takes those for perplexity, and so many windows of them where none are asked for, where neither texts nor tasks are
// named.
void take_shipped_text(EvaluationOptions& evaluation);
// Where they were taken, a line that says so and what would be better.
void tell_of_shipped_text(const DataOptions& data);
void tell_of_shipped_text(const EvaluationOptions& evaluation);

}  // namespace streamline::cli
