// SPDX-License-Identifier: Apache-2.0
// The files that a report page is made of, embedded at build time by cmake/EmbedVega.cmake.
#pragma once

#include <span>
#include <string_view>

namespace streamline::report {

struct Asset {
  std::string_view name;  // "vega.js", "page/page.css", "charts/windows.json", …
  std::string_view text;
};

std::span<const Asset> assets();

}  // namespace streamline::report
