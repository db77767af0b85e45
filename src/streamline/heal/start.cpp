// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/start.h"

#include <array>

#include "streamline/base/value_named.h"

namespace streamline {
namespace {

constexpr std::array<std::string_view, 4> kStarts = {"zero", "inherit", "random", "closed-form"};

}  // namespace

std::string_view start_name(Start start) { return kStarts.at(static_cast<std::size_t>(start)); }
Start parse_start(std::string_view name) { return value_named<Start>(kStarts, name, "start"); }

}  // namespace streamline
