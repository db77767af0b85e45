// SPDX-License-Identifier: Apache-2.0
// Keys are not known by name: in llama.cpp a numeric array under the architecture's name that is as long as the model
// is deep has a value a layer. The exceptions are listed here.
#include "streamline/arch/gguf_slice.h"

#include <algorithm>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::string_view kNotByLayer[] = {"rope.dimension_sections", "classifier.output_labels", "target_layers"};
constexpr std::string_view kLeading[] = {"leading_dense_block_count"};
// Layers that are counted from the end, or that others take their keys and values from.
constexpr std::string_view kTrailing[] = {"nextn_predict_layers", "attention.shared_kv_layers"};

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_by_layer(const GgufEntry& entry, std::string_view name, std::int64_t layers) {
  const bool sized = entry.element != GgufType::string && entry.element != GgufType::array;
  return entry.type == GgufType::array && sized && entry.count == static_cast<std::uint64_t>(layers) &&
         !is_one_of(kNotByLayer, name);
}

bool is_integer(const GgufEntry& entry) {
  return entry.type != GgufType::array && entry.type != GgufType::string && entry.type != GgufType::f32 &&
         entry.type != GgufType::f64 && entry.type != GgufType::boolean;
}

}  // namespace

GgufFields sliced_gguf_metadata(const Gguf& gguf, std::span<const std::int64_t> layers,
                                std::vector<std::string>& notes) {
  const std::string prefix = std::string(gguf.string("general.architecture").value_or("")) + ".";
  const auto before = gguf.integer(prefix + "block_count");
  if (prefix.size() == 1 || !before)
    fail(ErrorKind::format, gguf.where, ": has no '",
         prefix.size() == 1 ? "general.architecture" : prefix + "block_count", "'");
  const bool whole = static_cast<std::int64_t>(layers.size()) == *before;
  GgufFields fields;
  for (const GgufEntry& entry : gguf.metadata) {
    if (entry.key.starts_with("split.")) continue;
    const std::string_view name = entry.key.starts_with(prefix) ? entry.key.substr(prefix.size()) : std::string_view();
    if (name == "block_count" && is_integer(entry)) {
      fields.copy_with(entry, static_cast<std::int64_t>(layers.size()));
    } else if (is_one_of(kLeading, name) && is_integer(entry)) {
      const std::int64_t leading = *gguf.integer(entry.key);
      fields.copy_with(entry, std::count_if(layers.begin(), layers.end(), [&](auto layer) { return layer < leading; }));
    } else if (is_one_of(kTrailing, name) && !whole && gguf.integers(entry.key) &&
               gguf.integers(entry.key)->front() != 0) {
      fail(ErrorKind::unsupported, gguf.where, ": '", entry.key,
           "' counts layers from the end; such models are not cut");
    } else if (!name.empty() && is_by_layer(entry, name, *before)) {
      fields.copy_some(entry, layers);
      if (!whole) notes.push_back(std::string(entry.key) + " has a value a layer and was cut with the layers");
    } else {
      fields.copy(entry);
    }
  }
  return fields;
}

}  // namespace streamline
