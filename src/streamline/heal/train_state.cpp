// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/train_state.h"

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/io/safetensors.h"

namespace streamline {

const torch::Tensor& TrainState::at(const std::string& name) const {
  for (const auto& [key, tensor] : tensors)
    if (key == name) return tensor;
  fail(ErrorKind::format, "the training state has no '", name, "'; delete it to begin anew");
}

void save_train_state(const TrainState& state, const std::filesystem::path& path) {
  std::vector<TensorHeader> headers;
  std::vector<torch::Tensor> values;
  for (const auto& [name, tensor] : state.tensors) {
    values.push_back(tensor.detach().to(torch::kCPU).contiguous());
    headers.push_back({name, stored_dtype(values.back().scalar_type()), values.back().sizes().vec()});
  }
  OutputFile file(path);
  file.write(safetensors_header(headers, {{"run", state.run}, {"progress", state.progress.dump()}}));
  for (const torch::Tensor& value : values)
    file.write(std::span(static_cast<const std::byte*>(value.const_data_ptr()), value.nbytes()));
  file.commit();
}

std::optional<TrainState> load_train_state(const std::filesystem::path& path, const std::string& run) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  const std::string where = path.string();
  const Blob file = map_file(path);
  const auto infos = parse_safetensors(file.bytes, where);
  const auto metadata = safetensors_metadata(file.bytes, where);
  TrainState state;
  if (metadata.count("run") == 0 || metadata.count("progress") == 0)
    fail(ErrorKind::format, where, ": this is no training state; give another --state");
  state.run = metadata.at("run");
  if (state.run != run)
    fail(ErrorKind::mismatch, where,
         ": the state of another run (other model, text or options); delete it, or give "
         "another --state");
  state.progress = parse_json(metadata.at("progress"), where);
  for (const TensorInfo& info : infos) {
    if (!info.is_plain()) fail(ErrorKind::format, where, ": '", info.name, "' is ", dtype_name(info.dtype));
    auto value = torch::empty(info.shape, scalar_type(info.dtype));
    std::copy_n(file.bytes.data() + info.offset, info.size, static_cast<std::byte*>(value.mutable_data_ptr()));
    state.tensors.emplace_back(info.name, std::move(value));
  }
  return state;
}

}  // namespace streamline
