// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "streamline/base/value_named.h"
#include "streamline/tasks/task.h"

namespace streamline {
namespace {

constexpr std::array<std::string_view, 2> kStyles = {"lm-eval", "opencompass"};

}  // namespace

std::string_view name(Style style) { return kStyles.at(static_cast<std::size_t>(style)); }
Style style_named(std::string_view name) { return value_named<Style>(kStyles, name, "style of putting questions"); }

}  // namespace streamline
