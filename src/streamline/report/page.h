// SPDX-License-Identifier: Apache-2.0
// One self-contained page: template, style, markup, and, when there are charts, Vega and their data.
#pragma once

#include <string>

#include "streamline/base/json.h"

namespace streamline::report {

// `body` is markup; `charts` is {name: {"data": …, "signals": …}}, where charts NAME and NAME-1, NAME-2 … are drawn by
// charts/NAME.json.
std::string page_html(const std::string& title, const std::string& body, const Json& charts);

}  // namespace streamline::report
