// SPDX-License-Identifier: Apache-2.0
// Reading a number from bytes that need not be aligned.
#pragma once

#include <cstddef>
#include <cstring>

namespace streamline {

template <class T>
T load_value(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace streamline
