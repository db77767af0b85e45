// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/view.h"

#include <map>

#include "streamline/base/error.h"
#include "streamline/engine/mapped.h"

namespace streamline::merge {
namespace {

using ByPlace = std::map<std::pair<std::int64_t, Role>, std::shared_ptr<const TensorMerge>>;

// A checkpoint whose every tensor is a blob of its own: those of `later` hold an operand's bytes until they are merged.
std::shared_ptr<const Checkpoint> parts_of(const MergePlan& plan, Json config,
                                           const std::map<std::string, std::pair<std::int64_t, Role>>& later) {
  const Source& reference = plan.request.models[plan.request.reference];
  Checkpoint::Parts parts{.label = reference.checkpoint->label() + " (merged)",
                          .files = reference.checkpoint->shared_files(),
                          .config = std::move(config),
                          .tensors = {},
                          .blobs = {}};
  for (const TensorMerge& merge : plan.tensors) {
    const Stored& first = merge.operands.front().stored;
    const bool waits = later.count(merge.header.name) != 0 && first.tensor->is_plain();
    Blob blob = waits ? Blob{first.checkpoint->bytes(*first.tensor), first.checkpoint} : merged_bytes(merge);
    parts.tensors.push_back({.name = merge.header.name,
                             .dtype = waits ? first.tensor->dtype : merge.header.dtype,
                             .shape = merge.header.shape,
                             .file = merge.header.name,
                             .offset = 0,
                             .size = blob.bytes.size()});
    parts.blobs.emplace_back(merge.header.name, std::move(blob));
  }
  return Checkpoint::of(std::move(parts));
}

torch::Tensor merged_tensor(const TensorMerge& merge) {
  const Blob blob = merged_bytes(merge);
  const TensorInfo info{.name = {}, .dtype = merge.header.dtype, .shape = {}, .file = {}};
  const auto values = torch::empty(merge.header.shape, mapped_type(info));
  std::ranges::copy(blob.bytes, static_cast<std::byte*>(values.data_ptr()));
  return values;
}

// Layer and role of the tensors that a model asks for one at a time.
std::map<std::string, std::pair<std::int64_t, Role>> places(const Checkpoint& checkpoint, const Config& config) {
  std::map<std::string, std::pair<std::int64_t, Role>> found;
  for (std::int64_t layer = 0; layer < config.layer_count(); ++layer)
    for (int role = static_cast<int>(kFirstLayerRole); role <= static_cast<int>(kLastRole); ++role)
      if (const TensorInfo* tensor = find_tensor(checkpoint, config, layer, static_cast<Role>(role), Part::weight))
        found[tensor->name] = {layer, static_cast<Role>(role)};
  return found;
}

}  // namespace

Model view(const MergePlan& plan, Placement placement) {
  std::vector<std::string> notes;
  Json config = result_config(plan, nullptr, notes);
  // Headers alone, with an operand's bytes everywhere, say what the model makes of the names.
  std::map<std::string, std::pair<std::int64_t, Role>> all;
  for (const TensorMerge& merge : plan.tensors) all[merge.header.name] = {};
  const auto headers = parts_of(plan, config, all);
  const auto later = places(*headers, resolve_config(*headers));
  Model model = Model::open(parts_of(plan, std::move(config), later), placement);
  auto by_place = std::make_shared<ByPlace>();
  for (const TensorMerge& merge : plan.tensors)
    if (const auto found = later.find(merge.header.name); found != later.end())
      by_place->emplace(found->second, std::make_shared<TensorMerge>(merge));
  auto change = std::make_shared<WeightChange>();
  change->touches = [by_place](std::int64_t layer, Role role, std::int64_t expert) {
    return expert < 0 && by_place->count({layer, role}) != 0;
  };
  change->apply = [by_place, config = model.config()](std::int64_t layer, Role role, std::int64_t,
                                                      const torch::Tensor&) {
    const torch::Tensor merged = merged_tensor(*by_place->at({layer, role}));
    return is_transposed(config, layer, role, Part::weight) ? merged.t() : merged;
  };
  return model.changed(std::move(change));
}

}  // namespace streamline::merge
