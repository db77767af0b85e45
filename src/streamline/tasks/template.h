// SPDX-License-Identifier: Apache-2.0
// Texts with {{expressions}} in them, as task files have them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "streamline/tasks/expression.h"

namespace streamline {

class Template {
 public:
  Template() = default;  // the empty text
  // Errors: format, naming `where`.
  Template(std::string_view text, std::string_view where);

  // What a single {{expression}} is; a text when anything stands beside it. Errors: as evaluate().
  Json value(const Json& fields) const;
  std::string text(const Json& fields) const;
  bool uses(std::string_view field) const;
  // Names of the fields that occur in it, each once, in the order of their first appearance.
  std::vector<std::string> fields() const;
  const std::string& source() const { return source_; }  // as it was written

 private:
  std::string source_;
  std::vector<Expression> parts_;  // plain text is a constant
};

}  // namespace streamline
