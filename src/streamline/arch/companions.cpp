// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/companions.h"

#include "streamline/base/error.h"

namespace streamline {
namespace {

std::filesystem::path companion(const Checkpoint& checkpoint, const char* name) {
  const std::filesystem::path file = std::filesystem::path(checkpoint.label()) / "streamline" / name;
  std::error_code error;
  return checkpoint.is_safetensors() && std::filesystem::is_regular_file(file, error) ? file : std::filesystem::path();
}

}  // namespace

std::filesystem::path side_route_file(const Checkpoint& checkpoint) {
  return companion(checkpoint, "sherl.safetensors");
}

std::filesystem::path chips_file(const Checkpoint& checkpoint) { return companion(checkpoint, "chips.safetensors"); }

void check_no_side_route(const Checkpoint& checkpoint, std::string_view what) {
  if (const std::filesystem::path file = side_route_file(checkpoint); !file.empty())
    fail(ErrorKind::unsupported, checkpoint.label(), ": was healed with SHERL, whose side route (", file.string(), ") ",
         what, "; take the model before that");
}

}  // namespace streamline
