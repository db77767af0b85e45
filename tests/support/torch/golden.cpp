// SPDX-License-Identifier: Apache-2.0
#include "support/torch/golden.h"

#include "streamline/io/safetensors.h"
#include "support/core/expect.h"

namespace streamline::test {
namespace {

std::map<std::string, std::string> read_folder(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    files[entry.path().filename().string()] = read_text(entry.path());
  return files;
}

torch::Tensor tensor_of(const std::string& file, const std::string& name) {
  const auto bytes = std::as_bytes(std::span(file));
  for (const TensorInfo& info : parse_safetensors(bytes, "golden.safetensors")) {
    if (info.name != name) continue;
    auto* data = const_cast<std::byte*>(bytes.data() + info.offset);
    return torch::from_blob(data, info.shape, torch::TensorOptions(scalar_type(info.dtype))).clone();
  }
  fail(ErrorKind::mismatch, "golden.safetensors has no '", name, "'");
}

}  // namespace

Golden load_golden(const std::string& family, bool transformers5) {
  auto files = read_folder(shared_folder() / "golden" / family);
  const std::string results = files["golden.safetensors"];
  if (transformers5) files["config.json"] = files["config.transformers5.json"];
  for (const char* other : {"golden.safetensors", "config.transformers5.json", "importance.json"}) files.erase(other);
  return {.checkpoint = Checkpoint::open(memory_files(family, std::move(files))),
          .ids = tensor_of(results, "input_ids"),
          .logits = tensor_of(results, "logits"),
          .hidden = tensor_of(results, "hidden")};
}

}  // namespace streamline::test
