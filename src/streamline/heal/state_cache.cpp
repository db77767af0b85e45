// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/state_cache.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/engine/tensor_file.h"
#include "streamline/heal/cache_index.h"
#include "streamline/heal/pace.h"
#include "streamline/io/safetensors.h"

namespace streamline {
namespace {

constexpr std::uint64_t kShardBytes = 64'000'000;
constexpr std::int64_t kTogether = 2048;  // tokens that are computed at once

// The model as the states see it: what the layers up to the window compute.
std::string model_digest(const Model& body) {
  Sha256 digest;
  digest.update(body.checkpoint().digest());
  digest.update(std::to_string(body.layer_count()) + " " + std::to_string(body.parameters()) + " " +
                torch::toString(body.placement().dtype));
  return digest.hex();
}

// One text's states in the cache: which sequences lie in which shard.
struct CachedText {
  std::string prefix;                    // of the names of its shards
  std::int64_t sequences_per_shard = 1;  // the last has what is left
  std::map<std::int64_t, Blob> opened;   // shards whose digest was found right
  std::map<std::int64_t, std::vector<TensorInfo>> headers;
  bool full = false;  // no room for more
};

class StateCache {
 public:
  StateCache(const Model& body, const HealedWindow& window, const StateCacheOptions& options,
             const std::function<TopTokens(const torch::Tensor&)>& teacher, std::int64_t teacher_tokens)
      : body_(body),
        window_(window),
        options_(options),
        teacher_(teacher),
        index_(options.directory, body.checkpoint().digest()) {
    const std::string all = model_digest(body) + " " + std::to_string(window.begin()) + " " +
                            std::to_string(window.first) + " " + std::to_string(window.end()) + " " +
                            torch::toString(options.dtype) + " " + std::to_string(teacher ? teacher_tokens : 0) + " " +
                            options.view_digest;
    key_ = sha256(all);
  }

  WindowStates states(const TokenBatches& batches, const Indices& sequences) {
    CachedText& text = text_of(batches);
    std::vector<torch::Tensor> input, output, nothing, ids, shares;
    for (const std::int64_t sequence : sequences) {
      const std::int64_t shard = sequence / text.sequences_per_shard;
      if (!available(text, batches, shard)) return recompute(batches, sequences);
      input.push_back(read(text, shard, sequence, "input"));
      output.push_back(read(text, shard, sequence, "output"));
      if (window_.before > 0) nothing.push_back(read(text, shard, sequence, "nothing"));
      if (!teacher_) continue;
      ids.push_back(read(text, shard, sequence, "teacher_ids").to(torch::kLong));
      shares.push_back(read(text, shard, sequence, "teacher_shares"));
    }
    const auto together = [&](const std::vector<torch::Tensor>& rows) {
      return torch::stack(rows).to(body_.placement().device, body_.placement().dtype);
    };
    WindowStates states{.input = together(input), .output = together(output)};
    states.nothing = window_.before > 0 ? together(nothing) : states.input;
    const auto device = body_.placement().device;
    if (teacher_) states.teacher = {torch::cat(ids).to(device), torch::cat(shares).to(device)};
    return states;
  }

 private:
  // Rounded as what is read back, so that a run does not depend on how much of it fits into the cache.
  WindowStates recompute(const TokenBatches& batches, const Indices& sequences) const {
    WindowStates states = window_states(body_, window_, batches, sequences);
    for (torch::Tensor* tensor : {&states.input, &states.output, &states.nothing})
      *tensor = tensor->to(options_.dtype).to(body_.placement().dtype);
    return states;
  }

  CachedText& text_of(const TokenBatches& batches) {
    const auto found = texts_.find(&batches);
    if (found != texts_.end()) return found->second;
    CachedText& text = texts_[&batches];
    text.prefix = sha256(key_ + text_digest(batches)).substr(0, 24) + "-";
    const std::int64_t states = window_.before > 0 ? 3 : 2;
    const auto bytes = static_cast<std::uint64_t>(states * longest_sequence(batches) * body_.config().hidden) *
                       torch::elementSize(options_.dtype);
    text.sequences_per_shard = std::max<std::int64_t>(1, static_cast<std::int64_t>(kShardBytes / bytes));
    return text;
  }

  // Whether the shard can be read; makes it where it is not there.
  bool available(CachedText& text, const TokenBatches& batches, std::int64_t shard) {
    if (text.opened.count(shard) != 0) return true;
    const std::string name = text.prefix + std::to_string(shard) + ".states";
    if (const CachedShard* known = index_.find(name); known != nullptr && open(text, shard, name, *known)) return true;
    if (text.full) return false;
    return make(text, batches, shard, name);
  }

  bool open(CachedText& text, std::int64_t shard, const std::string& name, const CachedShard& known) {
    try {
      Blob file = map_file(index_.path(name));
      if (sha256(file.bytes) == known.sha256) {
        text.headers[shard] = parse_safetensors(file.bytes, index_.path(name).string());
        text.opened[shard] = std::move(file);
        index_.touch(name);
        return true;
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::io && error.kind() != ErrorKind::format) throw;
    }
    log_warning(index_.path(name).string() + ": damaged hidden states, computed anew");
    index_.remove(name);
    return false;
  }

  bool make(CachedText& text, const TokenBatches& batches, std::int64_t shard, const std::string& name) {
    NamedTensors tensors;
    const auto keep = [&](std::int64_t sequence, const char* what, const torch::Tensor& value) {
      tensors.emplace_back(tensor_name(sequence, what), value);
    };
    const auto count = static_cast<std::int64_t>(batches.sequences.size());
    const std::int64_t begin = shard * text.sequences_per_shard;
    Indices sequences(static_cast<std::size_t>(std::min(text.sequences_per_shard, count - begin)));
    std::iota(sequences.begin(), sequences.end(), begin);
    for (const Indices& group : micro_batches(batches, sequences, kTogether)) {
      check_interrupted();
      const WindowStates states = recompute(batches, group);
      for (std::size_t row = 0; row < group.size(); ++row) {
        const auto at = static_cast<std::int64_t>(row);
        keep(group[row], "input", states.input[at].to(options_.dtype));
        keep(group[row], "output", states.output[at].to(options_.dtype));
        if (window_.before > 0) keep(group[row], "nothing", states.nothing[at].to(options_.dtype));
        if (!teacher_) continue;
        const TopTokens teacher = teacher_(states.output.narrow(0, at, 1));
        keep(group[row], "teacher_ids", teacher.ids.to(torch::kInt));
        keep(group[row], "teacher_shares", teacher.log_shares);
      }
    }
    const TensorFile file(tensors, {});
    if (!index_.make_room(file.bytes(), options_.limit, text.prefix)) {
      text.full = true;
      log_detail("the cache of hidden states is full at " + std::to_string(options_.limit) + " bytes");
      return false;
    }
    index_.add(name, file.write_digested(index_.path(name)), file.bytes());
    return open(text, shard, name, *index_.find(name));
  }

  static std::string tensor_name(std::int64_t sequence, const char* what) {
    return std::to_string(sequence) + "." + what;
  }

  torch::Tensor read(const CachedText& text, std::int64_t shard, std::int64_t sequence, const char* what) const {
    const std::string name = tensor_name(sequence, what);
    for (const TensorInfo& info : text.headers.at(shard))
      if (info.name == name) return read_tensor(info, text.opened.at(shard));
    fail(ErrorKind::internal, "a shard of hidden states lacks ", name);
  }

  const Model& body_;
  HealedWindow window_;
  StateCacheOptions options_;
  std::function<TopTokens(const torch::Tensor&)> teacher_;
  CacheIndex index_;
  std::string key_;
  std::map<const TokenBatches*, CachedText> texts_ = {};
};

}  // namespace

StateSource cached_states(const Model& body, const HealedWindow& window, const StateCacheOptions& options,
                          const std::function<TopTokens(const torch::Tensor&)>& teacher, std::int64_t teacher_tokens) {
  auto cache = std::make_shared<StateCache>(body, window, options, teacher, teacher_tokens);
  return [cache](const TokenBatches& batches, const Indices& sequences) { return cache->states(batches, sequences); };
}

}  // namespace streamline
