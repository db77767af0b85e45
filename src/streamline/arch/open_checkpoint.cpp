// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/open_checkpoint.h"

#include "streamline/arch/gguf_config.h"
#include "streamline/arch/gguf_names.h"
#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/io/tensor_values.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kRopeFactors = "rope_freqs.weight";

std::vector<TensorInfo> all_tensors(const std::vector<GgufPart>& parts) {
  std::vector<TensorInfo> tensors;
  for (const GgufPart& part : parts) tensors.insert(tensors.end(), part.gguf.tensors.begin(), part.gguf.tensors.end());
  return tensors;
}

// The values of rope_freqs.weight, which leaves the list.
std::vector<float> take_rope_factors(const Checkpoint& stored, std::vector<TensorInfo>& tensors) {
  const TensorInfo* found = stored.find(kRopeFactors);
  if (found == nullptr) return {};
  std::vector<float> factors(static_cast<std::size_t>(found->elements()));
  read_rows(stored, *found, 0, row_count(*found), factors);
  std::erase_if(tensors, [](const TensorInfo& tensor) { return tensor.name == kRopeFactors; });
  return factors;
}

// Heads of q, or of k.
std::int64_t head_count(const TensorInfo& tensor, Role role, const Json& config, const Family& family) {
  const std::string_view key = role == Role::q ? family.keys.heads : family.keys.kv_heads;
  const std::int64_t heads = json_integer(config, key, tensor.file).value_or(0);
  if (heads < 1 || tensor.shape.empty() || tensor.shape.front() % (2 * heads) != 0)
    fail(ErrorKind::mismatch, tensor.file, ": '", tensor.name, "' has no rows for ", heads, " heads");
  return heads;
}

// The name and the values that the tensor has in a Hugging Face checkpoint.
void translate(TensorInfo& tensor, const Family& family, const Json& config, const std::string& where) {
  const auto name = parse_gguf_tensor(tensor.name);
  const std::string translated = name ? tensor_name(family, name->layer, name->role, name->part) : "";
  if (translated.empty())
    fail(ErrorKind::unsupported, where, ": tensor '", tensor.name, "' is none that a ", family.name, " model has");
  if (family.gguf.interleaved_qk && (name->role == Role::q || name->role == Role::k))
    tensor.interleaved_heads = head_count(tensor, name->role, config, family);
  if (is_norm_role(name->role)) tensor.stored_offset = static_cast<float>(family.traits.norm_offset);
  tensor.name = translated;
}

}  // namespace

std::shared_ptr<const Checkpoint> open_gguf_checkpoint(std::shared_ptr<const FileSet> files, const std::string& name) {
  std::vector<GgufPart> parts = open_gguf(*files, name);
  const Gguf& header = parts.front().gguf;
  const Family& family = gguf_family(header);
  std::vector<std::string> names;
  Checkpoint::Parts made{.label = header.where, .files = {}, .config = {}, .tensors = all_tensors(parts), .blobs = {}};
  for (const GgufPart& part : parts) {
    names.push_back(part.file);
    made.blobs.emplace_back(part.file, part.blob);
  }
  made.files = some_files(std::move(files), std::move(names));
  const std::vector<float> rope_factors = take_rope_factors(*Checkpoint::of(made), made.tensors);
  made.config = gguf_config(header, family, made.tensors, rope_factors);
  for (TensorInfo& tensor : made.tensors) translate(tensor, family, made.config, header.where);
  return Checkpoint::of(std::move(made));
}

std::shared_ptr<const Checkpoint> open_checkpoint(const fs::path& model) {
  std::error_code error;
  if (model.extension() == ".gguf" && !fs::is_directory(model, error)) {
    if (!fs::exists(model, error)) fail(ErrorKind::io, model.string(), ": no such file");
    const fs::path directory = model.has_parent_path() ? model.parent_path() : fs::path(".");
    return open_gguf_checkpoint(open_directory(directory), model.filename().string());
  }
  auto files = open_directory(model);
  if (files->contains("config.json")) return Checkpoint::open(std::move(files));
  const std::string gguf = find_gguf(*files);
  return gguf.empty() ? Checkpoint::open(std::move(files)) : open_gguf_checkpoint(std::move(files), gguf);
}

}  // namespace streamline
