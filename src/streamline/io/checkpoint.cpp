// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/checkpoint.h"

#include <algorithm>
#include <map>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/residency.h"
#include "streamline/io/safetensors.h"

namespace streamline {
namespace {

constexpr std::string_view kConfig = "config.json";
constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

using WeightMap = std::map<std::string, std::string>;  // tensor -> shard

std::string path_of(const FileSet& files, std::string_view name) { return files.label() + "/" + std::string(name); }

Json read_config(const FileSet& files) {
  const std::string where = path_of(files, kConfig);
  if (!files.contains(kConfig))
    fail(ErrorKind::io, where, ": no such file; expected the directory of a Hugging Face checkpoint");
  Json config = parse_json(files.open(kConfig).text(), where);
  if (!config.is_object()) fail(ErrorKind::format, where, ": not a JSON object");
  return config;
}

void check_shard_name(const std::string& where, const std::string& shard) {
  const bool plain = !shard.empty() && shard != "." && shard != ".." && shard.find('/') == std::string::npos &&
                     shard.find('\\') == std::string::npos && shard.find('\0') == std::string::npos;
  if (!plain) fail(ErrorKind::format, where, ": the shard name ", Json(shard).dump(), " leaves the directory");
}

WeightMap read_index(const FileSet& files) {
  const std::string where = path_of(files, kIndex);
  const Json index = parse_json(files.open(kIndex).text(), where);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object() || map->empty())
    fail(ErrorKind::format, where, ": expected an object 'weight_map' that names the shard of each tensor");
  WeightMap shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) fail(ErrorKind::format, where, ": the shard of '", tensor, "' is not a file name");
    check_shard_name(where, shard.get_ref<const std::string&>());
    shards.emplace(tensor, shard.get<std::string>());
  }
  return shards;
}

bool ends_with_any(const std::string& name, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view ending) { return name.ends_with(ending); });
}

// Neither an index nor model.safetensors: says what there is instead and what to do with it.
[[noreturn]] void fail_without_weights(const FileSet& files) {
  std::string found;
  std::string torch_file;
  for (const std::string& name : files.names()) {
    if (name.ends_with(".safetensors")) found += (found.empty() ? "'" : ", '") + name + "'";
    if (ends_with_any(name, {".bin", ".pt", ".pth"}) && torch_file.empty()) torch_file = name;
  }
  if (!found.empty())
    fail(ErrorKind::format, files.label(), ": has ", found, " but neither 'model.safetensors' nor an index '", kIndex,
         "' that says which of them make the model");
  if (!torch_file.empty())
    fail(ErrorKind::unsupported, files.label(), ": its weights are PyTorch pickles ('", torch_file,
         "'); convert them to safetensors, for example with transformers: "
         "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR)");
  fail(ErrorKind::io, path_of(files, kSingle), ": no such file, and no index '", kIndex, "' either");
}

// The files that make the model, and what the index promises of them (empty for a single file).
std::pair<std::vector<std::string>, WeightMap> weight_files(const FileSet& files) {
  if (!files.contains(kIndex)) {
    if (!files.contains(kSingle)) fail_without_weights(files);
    return {{std::string(kSingle)}, {}};
  }
  WeightMap index = read_index(files);
  std::vector<std::string> names;
  for (const auto& entry : index) names.push_back(entry.second);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names)
    if (!files.contains(name))
      fail(ErrorKind::io, path_of(files, name), ": this shard is missing; '", kIndex, "' names it");
  // Loaders disagree on which of the two wins, so whichever we chose might be the stale one.
  if (files.contains(kSingle) && !std::binary_search(names.begin(), names.end(), kSingle))
    fail(ErrorKind::format, files.label(),
         ": has both 'model.safetensors' and an index of other shards; remove the stale one");
  return {std::move(names), std::move(index)};
}

void sort_tensors(std::vector<TensorInfo>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.name, a.file) < std::tie(b.name, b.file);
  });
}

void sort_blobs(std::vector<std::pair<std::string, Blob>>& blobs) {
  std::sort(blobs.begin(), blobs.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
}

void check_no_duplicates(const FileSet& files, const std::vector<TensorInfo>& sorted) {
  for (std::size_t i = 1; i < sorted.size(); ++i)
    if (sorted[i].name == sorted[i - 1].name)
      fail(ErrorKind::format, files.label(), ": tensor '", sorted[i].name, "' is in two shards, '", sorted[i - 1].file,
           "' and '", sorted[i].file, "'");
}

void check_index(const Checkpoint& checkpoint, const WeightMap& index) {
  for (const auto& [name, shard] : index) {
    const TensorInfo* tensor = checkpoint.find(name);
    if (tensor == nullptr || tensor->file != shard)
      fail(ErrorKind::format, path_of(checkpoint.files(), shard), ": tensor '", name, "' is missing; '", kIndex,
           "' says that it is in this shard");
  }
}

}  // namespace

std::int64_t TensorInfo::elements() const {
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) count *= dimension;  // parse_safetensors() checked the product
  return count;
}

std::shared_ptr<const Checkpoint> Checkpoint::open(std::shared_ptr<const FileSet> files) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->files_ = std::move(files);
  checkpoint->label_ = checkpoint->files_->label();
  const FileSet& set = *checkpoint->files_;
  checkpoint->config_ = read_config(set);
  const auto [names, index] = weight_files(set);
  for (const std::string& name : names) {
    Blob blob = set.open(name);
    std::vector<TensorInfo> tensors = parse_safetensors(blob.bytes, streamline::path_of(set, name));
    for (TensorInfo& tensor : tensors) {
      tensor.file = name;
      checkpoint->tensors_.push_back(std::move(tensor));
    }
    checkpoint->blobs_.emplace_back(name, std::move(blob));
  }
  sort_tensors(checkpoint->tensors_);
  check_no_duplicates(set, checkpoint->tensors_);
  check_index(*checkpoint, index);
  return checkpoint;
}

std::shared_ptr<const Checkpoint> Checkpoint::open(const std::filesystem::path& directory) {
  return open(open_directory(directory));
}

std::shared_ptr<const Checkpoint> Checkpoint::of(Parts parts) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->label_ = std::move(parts.label);
  checkpoint->safetensors_ = false;
  checkpoint->files_ = std::move(parts.files);
  checkpoint->config_ = std::move(parts.config);
  checkpoint->tensors_ = std::move(parts.tensors);
  checkpoint->blobs_ = std::move(parts.blobs);
  sort_tensors(checkpoint->tensors_);
  sort_blobs(checkpoint->blobs_);
  return checkpoint;
}

std::shared_ptr<const Checkpoint> Checkpoint::described_as(std::vector<TensorInfo> tensors) const {
  auto checkpoint = std::make_shared<Checkpoint>(*this);
  checkpoint->tensors_ = std::move(tensors);
  return checkpoint;
}

std::shared_ptr<const Checkpoint> Checkpoint::extended(Json config,
                                                       std::vector<std::pair<TensorInfo, Blob>> tensors) const {
  auto checkpoint = std::make_shared<Checkpoint>(*this);
  checkpoint->config_ = std::move(config);
  checkpoint->digest_ = digest();
  for (auto& entry : tensors) {
    TensorInfo info = std::move(entry.first);
    const std::string name = info.name;
    std::erase_if(checkpoint->tensors_, [&](const TensorInfo& tensor) { return tensor.name == name; });
    std::erase_if(checkpoint->blobs_, [&](const auto& other) { return other.first == name; });
    info.file = name;
    info.offset = 0;
    info.size = entry.second.bytes.size();
    checkpoint->blobs_.emplace_back(name, std::move(entry.second));
    checkpoint->tensors_.push_back(std::move(info));
  }
  sort_tensors(checkpoint->tensors_);
  sort_blobs(checkpoint->blobs_);
  return checkpoint;
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                      [](const TensorInfo& tensor, std::string_view key) { return tensor.name < key; });
  return found == tensors_.end() || found->name != name ? nullptr : &*found;
}

const TensorInfo& Checkpoint::at(std::string_view name) const {
  const TensorInfo* tensor = find(name);
  if (tensor == nullptr) fail(ErrorKind::mismatch, label(), ": no tensor named '", name, "'");
  return *tensor;
}

const Blob& Checkpoint::blob_of(const TensorInfo& tensor) const {
  const auto blob = std::lower_bound(blobs_.begin(), blobs_.end(), tensor.file,
                                     [](const auto& entry, const std::string& file) { return entry.first < file; });
  SL_ASSERT(blob != blobs_.end() && blob->first == tensor.file);
  return blob->second;
}

std::span<const std::byte> Checkpoint::bytes(const TensorInfo& tensor) const {
  return blob_of(tensor).bytes.subspan(tensor.offset, tensor.size);
}

std::span<const std::byte> Checkpoint::mapped_bytes(const TensorInfo& tensor) const {
  return blob_of(tensor).mapped ? bytes(tensor) : std::span<const std::byte>();
}

std::uint64_t Checkpoint::total_bytes() const {
  std::uint64_t total = 0;
  for (const TensorInfo& tensor : tensors_) total += tensor.size;
  return total;
}

std::string Checkpoint::digest() const {
  if (!digest_.empty()) return digest_;
  constexpr std::size_t kSample = 4096;
  // All are asked for at once: a disk that is read sample by sample takes seconds for hundreds of tensors.
  for (const TensorInfo& tensor : tensors_) {
    const std::span<const std::byte> data = mapped_bytes(tensor);
    will_need(data.first(std::min(kSample, data.size())));
    will_need(data.last(std::min(kSample, data.size())));
  }
  Sha256 sha;
  for (const TensorInfo& tensor : tensors_) {
    sha.update(tensor.name);
    sha.update(std::string_view("\n"));
    sha.update(dtype_name(tensor.dtype));
    for (const std::int64_t dimension : tensor.shape) sha.update(" " + std::to_string(dimension));
    sha.update(std::string_view("\n"));
    const std::span<const std::byte> data = bytes(tensor);
    sha.update(data.first(std::min(kSample, data.size())));
    sha.update(data.last(std::min(kSample, data.size())));
  }
  return sha.hex();
}

}  // namespace streamline
