// SPDX-License-Identifier: Apache-2.0
// The language inside {{ }} of task files: a field, parts of it, and filters that change it.
//   question.choices.text    members; of a list: that member of each element
//   row[0], choices[-1]      elements, from the end when negative; words[:at], text[1:] pieces of lists and texts
//   text | strip | replace('_', ' ')          filters, from left to right; filters.h has them
//   (text | words)[0]        parentheses, where an element of what a filter gives is meant
//   'text', 3, ['A', 'B']    constants; \n, \t, \\, \' and \" in texts
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/text/regex.h"

namespace streamline {

struct Filter;

struct Expression {
  enum class Kind { constant, field, member, element, slice, list, filter };
  Kind kind = Kind::constant;
  Json constant = nullptr;  // a bound of a slice that is not there is the constant null
  std::string name = {};    // of a field, of a member
  const Filter* filter = nullptr;
  std::shared_ptr<const Regex> regex =
      {};                              // of the filter sub; shared, since expressions are copied, patterns cannot be
  std::vector<Expression> parts = {};  // what it is of, then its index, bounds, arguments
};

// Errors: format, naming `where`, the expression and what was expected in it.
Expression parse_expression(std::string_view text, std::string_view where);

// Errors: format when a field is absent or has no such part; the message names it.
Json evaluate(const Expression& expression, const Json& fields);

// Whether the field occurs in it.
bool uses(const Expression& expression, std::string_view field);
// Appends the names of the fields that occur in it and are not among `names` yet.
void add_fields(const Expression& expression, std::vector<std::string>& names);

// A value as it stands in a text: strings as they are, integers, true, false. Errors: format for anything else.
std::string as_text(const Json& value);

}  // namespace streamline
