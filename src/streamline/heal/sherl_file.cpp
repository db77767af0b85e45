// SPDX-License-Identifier: Apache-2.0
// The side file of a model that was healed with SHERL.
#include <map>

#include "streamline/arch/companions.h"
#include "streamline/base/error.h"
#include "streamline/engine/tensor_file.h"
#include "streamline/heal/sherl.h"
#include "streamline/io/safetensors.h"

namespace streamline {
namespace {

constexpr const char* kSherlKey = "streamline.sherl";
constexpr std::int64_t kSherlVersion = 1;

// The shape that every tensor must have, from two of them.
void check_sherl_shapes(SherlAdapter& adapter, std::int64_t hidden, const std::string& where) {
  const std::int64_t width = adapter.score.dim() == 1 ? adapter.score.size(0) : 0;
  bool right = width > 0;
  const auto is = [&](const torch::Tensor& tensor, std::vector<std::int64_t> shape) {
    right = right && tensor.sizes() == shape && torch::isfinite(tensor).all().item<bool>();
  };
  for (const SherlReducer& r : adapter.reducers) {
    is(r.f1, {width, hidden});
    is(r.f2, {width, width});
    is(r.f3, {width, width});
    for (const torch::Tensor& bias : {r.b1, r.b2, r.b3}) is(bias, {width});
  }
  is(adapter.score, {width});
  is(adapter.score_bias, {});
  is(adapter.out, {hidden, width});
  is(adapter.out_bias, {hidden});
  is(adapter.gate, {});
  if (!right) fail(ErrorKind::format, where, ": its tensors have not the shapes that they should, or hold NaN");
}

SherlAdapter described(const Json& json, const Model& model, const std::string& where) {
  SherlAdapter adapter;
  if (json_integer(json, "version", where) != kSherlVersion)
    fail(ErrorKind::format, where, ": is of a version that this program does not know");
  if (json_string(json, "digest", where) != model.checkpoint().digest())
    fail(ErrorKind::mismatch, where, ": belongs to other weights than those of ", model.checkpoint().label());
  adapter.at = json_integer(json, "at", where).value_or(-1);
  adapter.epsilon = json_number(json, "epsilon", where).value_or(0);
  std::int64_t last = -1;
  for (const Json& feature : json.value("features", Json::array())) {
    if (!feature.is_number_integer() || feature.get<std::int64_t>() <= last)
      fail(ErrorKind::format, where, ": 'features' are not ascending numbers");
    last = feature.get<std::int64_t>();
    adapter.features.push_back(last);
  }
  if (adapter.at < 1 || adapter.at >= model.layer_count() || adapter.features.size() < 2 || last > adapter.at)
    fail(ErrorKind::format, where, ": does not fit a model of ", model.layer_count(), " layers");
  adapter.reducers.resize(adapter.features.size());
  return adapter;
}

}  // namespace

void write_sherl(const SherlAdapter& adapter, const Model& model, const std::filesystem::path& file) {
  const Json json = {{"version", kSherlVersion},
                     {"digest", model.checkpoint().digest()},
                     {"at", adapter.at},
                     {"features", adapter.features},
                     {"epsilon", adapter.epsilon}};
  TensorFile(adapter.named(), {{kSherlKey, json.dump()}}).write(file);
}

SherlAdapter read_sherl(const std::filesystem::path& file, const Model& model) {
  const std::string where = file.string();
  const Blob blob = map_file(file);
  std::map<std::string, TensorInfo> tensors;
  for (TensorInfo& info : parse_safetensors(blob.bytes, where)) {
    std::string name = info.name;
    tensors[name] = std::move(info);
  }
  const auto metadata = safetensors_metadata(blob.bytes, where);
  const auto text = metadata.find(kSherlKey);
  if (text == metadata.end()) fail(ErrorKind::format, where, ": is no file of SHERL's");
  SherlAdapter adapter = described(parse_json(text->second, where), model, where);
  const auto names = adapter.named();
  const std::vector<torch::Tensor*> places = adapter.tensors();
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto found = tensors.find(names[i].first);
    if (found == tensors.end()) fail(ErrorKind::format, where, ": has no tensor '", names[i].first, "'");
    *places[i] = read_tensor(found->second, blob).to(torch::kFloat32);
  }
  check_sherl_shapes(adapter, model.config().hidden, where);
  return adapter;
}

Model with_side_route(const Model& model) {
  const std::filesystem::path file = side_route_file(model.checkpoint());
  if (file.empty()) return model;
  return model.routed(route_of(read_sherl(file, model), model.placement()));
}

}  // namespace streamline
