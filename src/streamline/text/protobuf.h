// SPDX-License-Identifier: Apache-2.0
// The wire format of protocol buffers, as far as reading one message field by field goes.
// https://protobuf.dev/programming-guides/encoding/
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace streamline {

struct ProtobufField {
  std::uint64_t number = 0;
  std::uint64_t value = 0;  // a varint, or the bits of a fixed-size number
  std::string_view bytes;   // a string or a message
};

// Errors: format when the message ends inside a field or has a wire type that is not known.
void read_fields(std::string_view message, std::string_view where,
                 const std::function<void(const ProtobufField&)>& take);

}  // namespace streamline
