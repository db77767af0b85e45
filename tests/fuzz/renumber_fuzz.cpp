// SPDX-License-Identifier: Apache-2.0
// Any text as the config.json of a model that is cut by names: its lists, modules and taps follow, or one Error.
#include <cstdlib>
#include <string_view>

#include "streamline/arch/layer_lists.h"
#include "streamline/arch/layer_taps.h"
#include "streamline/arch/module_lists.h"
#include "streamline/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace streamline;
  const LayerMap map{.before = 12, .origins = {0, 1, 4, 10, 11}};
  try {
    Json config = parse_json(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
    if (!config.is_object()) return 0;
    const LayerStack stack{
        .prefix = "model.layers.", .layers = 12, .text_key = text_config_key(config), .count_key = "num_hidden_layers"};
    Json& text = text_config(config, stack);
    renumber_layer_lists(text, stack, map);
    if (text.at("num_hidden_layers") != Json(5)) std::abort();
    renumber_layer_taps(config, map);
    renumber_quantization(config, stack, map);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::internal) std::abort();
  }
  return 0;
}
