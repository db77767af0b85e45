// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/open_checkpoint.h"

#include <utility>

#include "streamline/arch/gguf_config.h"
#include "streamline/arch/gguf_names.h"
#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/io/tensor_values.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

std::vector<TensorInfo> all_tensors(const std::vector<GgufPart>& parts) {
  std::vector<TensorInfo> tensors;
  for (const GgufPart& part : parts) tensors.insert(tensors.end(), part.gguf.tensors.begin(), part.gguf.tensors.end());
  return tensors;
}

// The values of a tensor that stands for no weights; it leaves the list. Empty when it is not there.
std::vector<float> take_values(const Checkpoint& stored, std::string_view name, std::vector<TensorInfo>& tensors) {
  const TensorInfo* found = stored.find(name);
  if (found == nullptr) return {};
  std::vector<float> values(static_cast<std::size_t>(found->elements()));
  read_rows(stored, *found, 0, row_count(*found), values);
  std::erase_if(tensors, [&](const TensorInfo& tensor) { return tensor.name == name; });
  return values;
}

// Heads of q, or of k, of which layers may have different numbers.
std::int64_t head_count(const TensorInfo& tensor, Role role, const Json& config, const Family& family) {
  const std::string_view key = role == Role::q ? family.keys.heads : family.keys.kv_heads;
  std::int64_t heads = json_integer(config, key, tensor.file).value_or(0);
  if (family.traits.block_configs && role == Role::k && !tensor.shape.empty())
    heads = tensor.shape.front() /
            std::max<std::int64_t>(1, config.at(std::string(family.keys.head_dim)).get<std::int64_t>());
  if (heads < 1 || tensor.shape.empty() || tensor.shape.front() % (2 * heads) != 0)
    fail(ErrorKind::mismatch, tensor.file, ": '", tensor.name, "' has no rows for ", heads, " heads");
  return heads;
}

// One tensor for each expert, of those that are stored one after the other.
void split_experts(const TensorInfo& all, const GgufTensorName& name, const Family& family, const std::string& where,
                   std::vector<TensorInfo>& tensors) {
  if (all.shape.size() != 3 || all.shape.front() < 1 || name.part != Part::weight)
    fail(ErrorKind::mismatch, where, ": tensor '", all.name, "' is not a stack of matrices, one an expert");
  const auto count = static_cast<std::uint64_t>(all.shape.front());
  for (std::uint64_t i = 0; i < count; ++i) {
    TensorInfo tensor = all;
    tensor.name = expert_tensor_name(family, name.layer, static_cast<std::int64_t>(i), name.role, name.part);
    tensor.shape.erase(tensor.shape.begin());
    tensor.size = all.size / count;
    tensor.offset += i * tensor.size;
    tensors.push_back(std::move(tensor));
  }
}

// Appends the tensor, or tensors, with the names and the values that they have in a Hugging Face checkpoint.
void translate(TensorInfo tensor, const Family& family, const Json& config, const std::string& where,
               std::vector<TensorInfo>& tensors) {
  if (tensor.name == kGgufClassHead) {
    tensor.name = kClassHead;
    return tensors.push_back(std::move(tensor));
  }
  const auto name = parse_gguf_tensor(family, tensor.name);
  if (!name)
    fail(ErrorKind::unsupported, where, ": tensor '", tensor.name, "' is none that a ", family.name, " model has");
  if (name->experts) return split_experts(tensor, *name, family, where, tensors);
  if (family.gguf.interleaved_qk && (name->role == Role::q || name->role == Role::k))
    tensor.interleaved_heads = head_count(tensor, name->role, config, family);
  if (is_norm_role(name->role)) tensor.stored_offset = static_cast<float>(family.traits.norm_offset);
  if (name->role == Role::shared_router && tensor.shape.size() == 1) tensor.shape.insert(tensor.shape.begin(), 1);
  tensor.name = tensor_name(family, name->layer, name->role, name->part);
  tensors.push_back(std::move(tensor));
}

}  // namespace

std::shared_ptr<const Checkpoint> open_gguf_checkpoint(std::shared_ptr<const FileSet> files, const std::string& name) {
  std::vector<GgufPart> parts = open_gguf(*files, name);
  const Gguf& header = parts.front().gguf;
  const Family& family = family_in_gguf(gguf_family(header));
  std::vector<std::string> names;
  Checkpoint::Parts made{.label = header.where, .files = {}, .config = {}, .tensors = all_tensors(parts), .blobs = {}};
  for (const GgufPart& part : parts) {
    names.push_back(part.file);
    made.blobs.emplace_back(part.file, part.blob);
  }
  made.files = some_files(std::move(files), std::move(names));
  const auto stored = Checkpoint::of(made);
  const RopeFactors factors{.always = take_values(*stored, "rope_freqs.weight", made.tensors),
                            .short_text = take_values(*stored, "rope_factors_short.weight", made.tensors),
                            .long_text = take_values(*stored, "rope_factors_long.weight", made.tensors)};
  made.config = gguf_config(header, family, made.tensors, factors);
  for (TensorInfo& tensor : std::exchange(made.tensors, {}))
    translate(std::move(tensor), family, made.config, header.where, made.tensors);
  return Checkpoint::of(std::move(made));
}

std::shared_ptr<const Checkpoint> open_checkpoint(const fs::path& model) {
  std::error_code error;
  if (model.extension() == ".gguf" && !fs::is_directory(model, error)) {
    if (!fs::exists(model, error)) fail(ErrorKind::io, model.string(), ": no such file");
    const fs::path directory = model.has_parent_path() ? model.parent_path() : fs::path(".");
    return open_gguf_checkpoint(open_directory(directory), model.filename().string());
  }
  if (fs::is_regular_file(model, error))
    fail(ErrorKind::io, model.string(), ": is a file; give the folder of the checkpoint, ",
         model.has_parent_path() ? model.parent_path().string() : ".", ", or a .gguf file");
  auto files = open_directory(model);
  if (files->contains("config.json")) return Checkpoint::open(std::move(files));
  if (files->contains("adapter_config.json"))
    fail(ErrorKind::unsupported, files->label(), ": has adapters and no model; `streamline merge ", files->label(),
         " --base MODEL --out DIR` merges them into theirs");
  const std::string gguf = find_gguf(*files);
  return gguf.empty() ? Checkpoint::open(std::move(files)) : open_gguf_checkpoint(std::move(files), gguf);
}

}  // namespace streamline
