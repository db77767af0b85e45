// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/alignment.h"

#include "streamline/arch/config.h"
#include "streamline/arch/multimodal.h"
#include "streamline/arch/names.h"
#include "streamline/base/error.h"

namespace streamline::merge {
namespace {

// The family's reading of config.json, where it has one: merging needs names alone.
std::optional<Config> known_config(const Source& source) {
  try {
    return config_from_json(source.checkpoint->config(), source.checkpoint->config_label());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    return std::nullopt;
  }
}

std::string shape_text(const TensorInfo& tensor) {
  std::string text = "[";
  for (const std::int64_t size : tensor.shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

}  // namespace

Contents contents_of(const Source& source) {
  Contents contents;
  const std::optional<Config> config = known_config(source);
  if (config) {
    contents.tied = config->tied_embeddings;
    contents.embedding = tensor_name(*config->family, -1, Role::token_embedding, Part::weight);
    contents.head = tensor_name(*config->family, -1, Role::head, Part::weight);
  }
  contents.layers.resize(static_cast<std::size_t>(source.stack.layers));
  for (const TensorInfo& tensor : source.checkpoint->tensors()) {
    if (config && is_ignored(*config->family, tensor.name) && !is_carried(*config->family, tensor.name)) continue;
    if (contents.tied && tensor.name == contents.head) continue;
    const auto place = parse_stack_tensor(source.stack, tensor.name);
    const bool inside = place && place->layer < source.stack.layers;
    (inside ? contents.layers[static_cast<std::size_t>(place->layer)] : contents.outside).push_back(&tensor);
  }
  return contents;
}

bool is_before_layers(const Contents& contents, const std::string& name) {
  if (!contents.embedding.empty() && name == contents.embedding) return true;
  if (!contents.head.empty() && name == contents.head) return false;
  return name.find("embed") != std::string::npos || name.find("wte.") != std::string::npos ||
         name.find("wpe.") != std::string::npos;
}

const TensorInfo& counterpart(const Source& source, const Contents& contents, const std::string& name,
                              const Source& reference) {
  const TensorInfo* found = source.checkpoint->find(name);
  if (found == nullptr && contents.tied && name == contents.head) found = source.checkpoint->find(contents.embedding);
  if (found == nullptr)
    fail(ErrorKind::mismatch, source.name, ": has no tensor '", name, "', for one of ", reference.name,
         "; models that are merged share one architecture");
  return *found;
}

bool is_vocabulary(const Contents& contents, const TensorInfo& tensor) {
  return tensor.shape.size() == 2 && (tensor.name == contents.embedding || tensor.name == contents.head);
}

void check_same_shape(const Source& source, const TensorInfo& tensor, const Source& reference, const TensorInfo& other,
                      std::string_view hint) {
  if (tensor.shape == other.shape) return;
  fail(ErrorKind::mismatch, source.checkpoint->path_of(tensor), ": '", tensor.name, "' is ", shape_text(tensor), "; '",
       other.name, "' of ", reference.name, " is ", shape_text(other), hint);
}

void check_all_used(const Source& source, const std::vector<const TensorInfo*>& tensors,
                    const std::set<const TensorInfo*>& used, const Source& reference) {
  for (const TensorInfo* tensor : tensors)
    if (used.count(tensor) == 0)
      fail(ErrorKind::mismatch, source.name, ": has a tensor '", tensor->name, "' for which ", reference.name,
           " has none; models that are merged share one architecture");
}

}  // namespace streamline::merge
