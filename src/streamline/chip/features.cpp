// SPDX-License-Identifier: Apache-2.0
#include "streamline/chip/features.h"

#include <algorithm>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/json_fields.h"
#include "streamline/engine/tensor_file.h"
#include "streamline/io/safetensors.h"

namespace streamline::chip {
namespace {

constexpr std::int64_t kFeaturesVersion = 1;

const TensorInfo& tensor_named(const std::vector<TensorInfo>& tensors, const std::string& name,
                               const std::string& where) {
  const auto found = std::ranges::find(tensors, name, &TensorInfo::name);
  if (found == tensors.end()) fail(ErrorKind::format, where, ": has no tensor '", name, "'");
  return *found;
}

void check_shapes(const FeatureDescription& description, const TensorInfo& features, const torch::Tensor& labels,
                  const std::string& where) {
  const std::vector<std::int64_t> expected = {std::ssize(description.layers), labels.numel(), description.trunk.hidden};
  if (features.shape != expected || labels.dim() != 1 || labels.scalar_type() != torch::kLong || labels.numel() == 0)
    fail(ErrorKind::format, where, ": its tensors have not the shapes that its description says");
  const auto classes = std::ssize(description.classes);
  if (labels.min().item<std::int64_t>() < 0 || labels.max().item<std::int64_t>() >= classes)
    fail(ErrorKind::format, where, ": has a label that is none of its ", classes, " classes");
}

}  // namespace

Json to_json(const FeatureDescription& description) {
  return {{"version", kFeaturesVersion},         {"task", description.task},
          {"classes", description.classes},      {"trunk", to_json(description.trunk)},
          {"input", to_json(description.input)}, {"layers", description.layers},
          {"source", description.source},        {"digest", description.digest},
          {"truncated", description.truncated}};
}

FeatureDescription description_from_json(const Json& json, const std::string& where) {
  if (json_integer(json, "version", where) != kFeaturesVersion)
    fail(ErrorKind::format, where, ": is of a version that this program does not know");
  FeatureDescription description;
  description.task = required(json_string(json, "task", where), "task", where);
  description.classes = json_list<std::string>(json, "classes", &Json::is_string, where);
  description.trunk = trunk_from_json(json.value("trunk", Json()), where);
  description.input = input_from_json(json.value("input", Json()), where);
  for (const Json& layer : json_array(json, "layers", where)) {
    const std::int64_t last = description.layers.empty() ? -1 : description.layers.back();
    if (!layer.is_number_integer() || layer.get<std::int64_t>() <= last ||
        layer.get<std::int64_t>() >= description.trunk.layers)
      fail(ErrorKind::format, where, ": 'layers' are not ascending numbers below ", description.trunk.layers);
    description.layers.push_back(layer.get<std::int64_t>());
  }
  description.source = json_string(json, "source", where).value_or("");
  description.digest = required(json_string(json, "digest", where), "digest", where);
  description.truncated = json_integer(json, "truncated", where).value_or(0);
  if (description.classes.size() < 2 || description.layers.empty())
    fail(ErrorKind::format, where, ": has no layers, or fewer than two classes");
  return description;
}

Features Features::open(const std::filesystem::path& path) {
  Features result;
  result.label_ = path.string();
  const std::string& where = result.label_;
  result.file_ = map_file(path);
  const std::vector<TensorInfo> tensors = parse_safetensors(result.file_.bytes, where);
  const auto metadata = safetensors_metadata(result.file_.bytes, where);
  const auto text = metadata.find("streamline.features"), digest = metadata.find("sha256");
  if (text == metadata.end() || digest == metadata.end())
    fail(ErrorKind::format, where, ": is no file of features; `streamline chip cache` makes one");
  result.description_ = description_from_json(parse_json(text->second, where), where);
  result.features_ = tensor_named(tensors, "features", where);
  const TensorInfo& labels = tensor_named(tensors, "labels", where);
  const std::uint64_t begin = std::min(result.features_.offset, labels.offset);
  if (sha256(result.file_.bytes.subspan(begin)) != digest->second)
    fail(ErrorKind::format, where, ": is damaged (its digest is another than it says); make it again");
  result.labels_ = read_tensor(labels, result.file_);
  check_shapes(result.description_, result.features_, result.labels_, where);
  return result;
}

torch::Tensor Features::layer(std::size_t i) const {
  SL_ASSERT(i < description_.layers.size());
  TensorInfo part = features_;
  part.shape.erase(part.shape.begin());
  part.size /= description_.layers.size();
  part.offset += i * part.size;
  return read_tensor(part, file_).to(torch::kFloat32);
}

}  // namespace streamline::chip
