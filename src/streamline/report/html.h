// SPDX-License-Identifier: Apache-2.0
// Small pieces of HTML. "Markup" arguments are inserted as they are; text must pass through escaped() first.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/json.h"

namespace streamline::report {

// Text for element content and quoted attributes; control characters become U+FFFD.
std::string escaped(std::string_view text);
// JSON for a <script type="application/json"> element: no "<" in it, so nothing can end the element.
std::string script_json(const Json& json);

// <name attributes>markup</name>
std::string element(std::string_view name, std::string_view attributes, std::string_view markup);
// A section with heading and introduction (markup); empty when `markup` is.
std::string section(std::string_view heading, std::string_view introduction, std::string_view markup);
// A table whose cells are markup; the first cell of a row is its heading. Rows flagged in `chosen` are tinted.
std::string html_table(const std::vector<std::string>& heading, const std::vector<std::vector<std::string>>& rows,
                       std::string_view label, const std::vector<bool>& chosen = {});
// A bar of `share` (0 … 1) of the cell's width.
std::string bar(double share, bool marked = false);

}  // namespace streamline::report
