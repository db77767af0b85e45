// SPDX-License-Identifier: Apache-2.0
// Computes features part by part, each of texts of about the same length, and puts the parts together.
#include <algorithm>
#include <numeric>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/chip/features.h"
#include "streamline/engine/sweep.h"
#include "streamline/engine/tensor_file.h"
#include "streamline/heal/cache_index.h"
#include "streamline/io/safetensors.h"
#include "streamline/nn/tensor_bytes.h"
#include "streamline/nn/type_name.h"

namespace streamline::chip {
namespace {

namespace fs = std::filesystem;
using Indices = std::vector<std::int64_t>;

constexpr std::int64_t kBatchesInPart = 8;  // what a run that is cut short loses at most

// Texts by length, so that those of one length run together wherever the parts are cut.
Indices by_length(const TokenBatches& batches) {
  Indices order(batches.sequences.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::ranges::stable_sort(order, {},
                           [&](std::int64_t i) { return batches.sequences[static_cast<std::size_t>(i)].size(); });
  return order;
}

std::vector<Indices> parts_of(const TokenBatches& batches, std::int64_t tokens) {
  std::vector<Indices> parts;
  std::int64_t filled = tokens;
  for (const std::int64_t text : by_length(batches)) {
    if (filled >= tokens) {
      parts.emplace_back();
      filled = 0;
    }
    parts.back().push_back(text);
    filled += std::ssize(batches.sequences[static_cast<std::size_t>(text)]);
  }
  return parts;
}

// [layers, texts of the part, hidden]
torch::Tensor compute_part(const Model& model, const TokenBatches& all, const Indices& texts,
                           const FeatureDescription& description, const FeatureOptions& options) {
  TokenBatches batches;
  for (const std::int64_t text : texts) batches.sequences.push_back(all.sequences[static_cast<std::size_t>(text)]);
  auto features =
      torch::empty({std::ssize(description.layers), std::ssize(texts), model.config().hidden}, options.dtype);
  const SweepVisitor visitor{.layer = [&](const SweepBatch& batch, const LayerStep& step) {
    const auto kept = std::ranges::find(description.layers, step.layer);
    if (kept == description.layers.end()) return;
    const auto states = states_at(step.output, description.input.position);  // [batch, hidden]
    features[kept - description.layers.begin()].index_copy_(0, torch::tensor(batch.sequences, torch::kLong),
                                                            states.to(torch::kCPU, options.dtype));
  }};
  sweep(model, batches, {.batch_tokens = options.batch_tokens}, visitor);
  if (!torch::isfinite(features).all().item<bool>())
    fail(ErrorKind::numeric, "a hidden state is no finite number in ", type_name(options.dtype),
         "; store float32 (--feature-dtype), or compute in another --dtype");
  return features;
}

// One finished part: its texts, and its file.
struct Part {
  Indices texts;
  Blob file;
  TensorInfo features;
};

class Parts {
 public:
  Parts(const Model& model, const Prompts& prompts, const FeatureDescription& description, const fs::path& folder,
        const FeatureOptions& options)
      : model_(model.truncated(description.layers.back() + 1)),
        prompts_(prompts),
        description_(description),
        options_(options),
        index_(folder,
               sha256(dump_json(to_json(description)) + torch::toString(options.dtype) +
                      torch::toString(model.placement().dtype)),
               "parts of other features; give another --out, or delete them") {}

  std::vector<Part> all() {
    const std::int64_t tokens = options_.batch_tokens > 0 ? options_.batch_tokens : default_batch_tokens(model_);
    std::optional<Progress> progress;
    if (options_.progress) progress.emplace(description_.task, std::ssize(prompts_.batches.sequences), "texts");
    std::vector<Part> parts;
    for (const Indices& texts : parts_of(prompts_.batches, tokens * kBatchesInPart)) {
      parts.push_back(part(texts, std::to_string(parts.size()) + ".states"));
      if (progress) progress->advance(std::ssize(texts));
    }
    return parts;
  }

 private:
  Part part(const Indices& texts, const std::string& name) {
    if (const CachedShard* known = index_.find(name)) {
      Blob file = map_file(index_.path(name));
      if (sha256(file.bytes) == known->sha256) return opened(texts, std::move(file), name);
      log_warning(index_.path(name).string() + ": damaged, computed anew");
    }
    const TensorFile file({{"features", compute_part(model_, prompts_.batches, texts, description_, options_)}}, {});
    index_.add(name, file.write_digested(index_.path(name)), file.bytes());
    return opened(texts, map_file(index_.path(name)), name);
  }

  Part opened(const Indices& texts, Blob file, const std::string& name) const {
    const std::vector<TensorInfo> tensors = parse_safetensors(file.bytes, index_.path(name).string());
    SL_ASSERT(tensors.size() == 1);
    return {texts, std::move(file), tensors.front()};
  }

  Model model_;
  const Prompts& prompts_;
  const FeatureDescription& description_;
  FeatureOptions options_;
  CacheIndex index_;
};

// [texts, hidden] of one layer, in the order of the data.
torch::Tensor gathered(const std::vector<Part>& parts, std::int64_t layer, std::int64_t texts) {
  torch::Tensor rows;
  for (const Part& part : parts) {
    TensorInfo slice = part.features;
    slice.size /= static_cast<std::uint64_t>(slice.shape[0]);
    slice.offset += static_cast<std::uint64_t>(layer) * slice.size;
    slice.shape.erase(slice.shape.begin());
    const auto values = read_tensor(slice, part.file);
    if (!rows.defined()) rows = torch::empty({texts, values.size(1)}, values.scalar_type());
    rows.index_copy_(0, torch::tensor(part.texts, torch::kLong), values);
  }
  return rows;
}

// Layer by layer: no more than one layer's states are in memory.
void join(const std::vector<Part>& parts, const torch::Tensor& labels, const FeatureDescription& description,
          const fs::path& out, const FeatureOptions& options) {
  const auto layers = std::ssize(description.layers);
  const std::int64_t texts = labels.numel();
  const auto each = [&](const auto& take) {
    take(bytes_of(labels));
    for (std::int64_t layer = 0; layer < layers; ++layer) take(bytes_of(gathered(parts, layer, texts)));
  };
  Sha256 digest;
  each([&](std::span<const std::byte> bytes) { digest.update(bytes); });
  const std::vector<TensorHeader> tensors = {
      {"labels", DType::i64, {texts}},
      {"features", stored_dtype(options.dtype), {layers, texts, description.trunk.hidden}}};
  OutputFile file(out);
  file.write(
      safetensors_header(tensors, {{"streamline.features", to_json(description).dump()}, {"sha256", digest.hex()}}));
  each([&](std::span<const std::byte> bytes) { file.write(bytes); });
  file.commit();
}

}  // namespace

void write_features(const Model& model, const LabelledTexts& texts, const Prompts& prompts,
                    const FeatureDescription& description, const fs::path& out, const FeatureOptions& options) {
  const torch::NoGradGuard no_gradients;
  SL_ASSERT(!description.layers.empty() && texts.texts.size() == prompts.batches.sequences.size());
  std::error_code error;
  if (options.overwrite == Overwrite::no && fs::exists(out, error))
    fail(ErrorKind::io, out.string(), ": already exists; choose another name, or pass --overwrite");
  const fs::path folder = out.string() + ".parts";
  {
    Parts parts(model, prompts, description, folder, options);
    const auto labels = torch::tensor(texts.labels, torch::kLong);
    translating_errors([&] { join(parts.all(), labels, description, out, options); });
  }
  fs::remove_all(folder, error);
}

}  // namespace streamline::chip
