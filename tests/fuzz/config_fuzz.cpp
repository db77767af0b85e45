// SPDX-License-Identifier: Apache-2.0
// Any text as config.json: either a configuration that can be written for fewer layers and read back, or one Error.
#include <cstdlib>
#include <string_view>

#include "streamline/arch/config_write.h"
#include "streamline/base/error.h"

namespace {

void cut_write_and_read(const streamline::Config& config) {
  if (streamline::total_parameters(config) <= 0) std::abort();
  const streamline::Json json = streamline::output_config(config, {{0, {}}, {config.layer_count() - 1, {}}});
  const streamline::Config result = streamline::config_from_json(json, "written");
  if (result.layer_count() != 2 || result.rope.theta != config.rope.theta || result.hidden != config.hidden)
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::optional<streamline::Config> config;
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    config = streamline::config_from_json(streamline::parse_json(text, "fuzz"), "fuzz");
  } catch (const streamline::Error& error) {
    if (error.kind() == streamline::ErrorKind::internal) std::abort();
    return 0;
  }
  cut_write_and_read(*config);  // what was accepted must not fail later
  return 0;
}
