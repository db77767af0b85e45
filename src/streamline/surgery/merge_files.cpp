// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/merge_files.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/engine/tensor_file.h"
#include "streamline/io/safetensors.h"
#include "streamline/plan/masks_file.h"
#include "streamline/plan/merge.h"
#include "streamline/surgery/apply.h"

namespace streamline {

namespace fs = std::filesystem;

namespace {

struct PlanFile {
  fs::path path;
  NamedPlan named;
};

PlanFile read_plan_file(const std::string& given) {
  const fs::path path = plan_file_of(given);
  const std::string where = path.string();
  return {path, {where, plan_from_json(parse_json(map_file(path).text(), where), where)}};
}

// What a weights file of several segments holds, to be written under the segments' new numbers.
class CarriedWeights {
 public:
  // Of segment `from` of a plan, as segment `to`.
  void add(const PlanFile& file, std::int64_t from, std::int64_t to) {
    const Segment& segment = file.named.plan.segments[static_cast<std::size_t>(from)];
    const fs::path path = file.path.parent_path() / segment.weights_file;
    const Blob blob = map_file(path);
    if (sha256(blob.bytes) != segment.weights_sha256)
      fail(ErrorKind::mismatch, path.string(), ": these are not the weights of ", file.path.string());
    const std::string old_key = "segments." + std::to_string(from), key = "segments." + std::to_string(to);
    const auto metadata = safetensors_metadata(blob.bytes, path.string());
    const auto shape = metadata.find(old_key);
    if (shape == metadata.end()) fail(ErrorKind::format, path.string(), ": its metadata has no '", old_key, "'");
    metadata_[key] = shape->second;
    for (const TensorInfo& tensor : parse_safetensors(blob.bytes, path.string()))
      if (tensor.name.starts_with(old_key + "."))
        tensors_.emplace_back(key + tensor.name.substr(old_key.size()), read_tensor(tensor, blob));
  }

  bool empty() const { return tensors_.empty(); }
  std::string write(const fs::path& path) const { return TensorFile(tensors_, metadata_).write_digested(path); }

 private:
  NamedTensors tensors_;
  std::map<std::string, std::string> metadata_ = {{"format", "pt"}};
};

// Masks of several plans together.
class CarriedMasks {
 public:
  // plan: the merged one.
  void add(const PlanFile& file, const Plan& plan) {
    const PlanMasks& named = *file.named.plan.masks;
    const auto opened =
        std::make_shared<const MasksFile>(MasksFile::open(file.path.parent_path() / named.file, named.sha256));
    for (std::size_t i = 0; i < opened->masks().size(); ++i) {
      const Mask& mask = opened->masks()[i];
      if (mask.layer < 0 || mask.layer >= plan.base.layers)
        fail(ErrorKind::mismatch, opened->name(), ": '", mask.tensor, "' is masked as one of layer ", mask.layer,
             "; the plan is of ", plan.base.layers, " layers");
      if (!is_left(plan, mask.layer)) continue;
      std::vector<Entry>& parts = masks_[mask.tensor];
      if (!parts.empty() && parts.front().mask() != mask)
        fail(ErrorKind::mismatch, opened->name(), ": masks '", mask.tensor, "' in another shape or layer than ",
             parts.front().file->name(), "; plans of one model can be merged");
      parts.push_back({opened, i});
    }
  }

  bool empty() const { return masks_.empty(); }
  std::string write(const fs::path& path) const {
    std::vector<MaskSource> sources;
    for (const auto& [tensor, parts] : masks_)
      sources.push_back({.mask = parts.front().mask(), .bits = [&parts] { return kept_by_all(parts); }});
    return write_masks(path, sources);
  }

 private:
  struct Entry {
    std::shared_ptr<const MasksFile> file;
    std::size_t index = 0;

    const Mask& mask() const { return file->masks()[index]; }
    std::span<const std::byte> bits() const { return file->bits(index); }
  };

  static bool is_left(const Plan& plan, std::int64_t layer) {
    return std::ranges::any_of(plan.segments, [&](const Segment& segment) {
      return segment.first <= layer && layer <= segment.last && segment.action != Action::drop &&
             segment.action != Action::replace;
    });
  }

  static Blob kept_by_all(const std::vector<Entry>& parts) {
    const auto first = parts.front().bits();
    if (parts.size() == 1) return {first, parts.front().file};
    const auto kept = std::make_shared<std::vector<std::byte>>(first.begin(), first.end());
    for (const Entry& part : parts) std::ranges::transform(*kept, part.bits(), kept->begin(), std::bit_and());
    return {*kept, kept};
  }

  std::map<std::string, std::vector<Entry>> masks_;  // by tensor
};

void check_free(const fs::path& path, Overwrite overwrite) {
  std::error_code error;
  if (overwrite == Overwrite::no && fs::exists(path, error))
    fail(ErrorKind::io, path.string(), ": already exists; choose another name, or pass --overwrite");
}

// Whether the plan in this file, if there is one, has its masks in `masks` beside it.
bool has_masks_in(const fs::path& plan, const fs::path& masks) {
  try {
    const auto named = read_plan_file(plan.string()).named.plan.masks;
    return named && named->file == masks.filename().string();
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

Plan merge_plan_files(const std::vector<std::string>& plans, const fs::path& out, Overwrite overwrite) {
  std::vector<PlanFile> files;
  std::vector<NamedPlan> named;
  for (const std::string& plan : plans) {
    files.push_back(read_plan_file(plan));
    named.push_back(files.back().named);
  }
  auto [plan, replaced, with_masks] = merge_plans(named);
  check_free(out, overwrite);
  CarriedMasks masks;
  for (const std::size_t from : with_masks) masks.add(files[from], plan);
  const fs::path masks_path = masks_beside(out);
  if (!masks.empty()) check_free(masks_path, overwrite);
  CarriedWeights weights;
  for (const auto& [to, from] : replaced)
    if (!plan.segments[static_cast<std::size_t>(to)].weights_file.empty())
      weights.add(files[from.plan], from.segment, to);
  fs::path weights_path = out;
  weights_path.replace_extension(".safetensors");
  if (!weights.empty()) check_free(weights_path, overwrite);
  const bool stale = masks.empty() && has_masks_in(out, masks_path);  // those of the plan that is replaced
  if (!masks.empty()) plan.masks = PlanMasks{masks_path.filename().string(), masks.write(masks_path)};
  if (!weights.empty()) {
    const std::string digest = weights.write(weights_path);
    for (const auto& [to, from] : replaced) {
      Segment& segment = plan.segments[static_cast<std::size_t>(to)];
      if (segment.weights_file.empty()) continue;
      segment.weights_file = weights_path.filename().string();
      segment.weights_sha256 = digest;
    }
  }
  write_text(out, dump_json(to_json(plan)));
  std::error_code error;
  if (stale) fs::remove(masks_path, error);
  return plan;
}

}  // namespace streamline
