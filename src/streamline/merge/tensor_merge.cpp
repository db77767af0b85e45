// SPDX-License-Identifier: Apache-2.0
// What needs a whole tensor (thresholds, norms, angles) is found in passes of its own; then each block is read, merged
// and rounded once. Sums over blocks are added up in their order, whatever the number of threads.
#include "streamline/merge/tensor_merge.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>
#include <utility>

#include "streamline/base/error.h"
#include "streamline/merge/block_arithmetic.h"
#include "streamline/merge/fused_merge.h"
#include "streamline/merge/stored_rows.h"
#include "streamline/merge/tensor_passes.h"

namespace streamline::merge {
namespace {

// The bytes of the result where they are those of a stored tensor; both ends of a scale are exact that way.
const Stored* copied_from(const TensorMerge& merge) {
  const Parameters& p = merge.parameters;
  if (merge.rule == nullptr) return &merge.operands.front().stored;
  const auto fits = [&](const Stored& stored) {
    return stored.tensor != nullptr && !stored.update && stored.tensor->is_plain() &&
           stored.tensor->dtype == merge.header.dtype && stored.tensor->shape == merge.header.shape;
  };
  if (p.depth == 0 && fits(merge.base)) return &merge.base;
  if (p.depth != 1) return nullptr;
  const Rule& rule = *merge.rule;
  const Stored& first = merge.operands.front().stored;
  if (rule.combine == Combine::slerp && merge.operands.size() == 2) {
    const Stored& end = p.t == 0 ? first : merge.operands.back().stored;
    return (p.t == 0 || p.t == 1) && fits(end) ? &end : nullptr;
  }
  if (merge.operands.size() != 1 || !fits(first)) return nullptr;
  const bool whole = rule.keep == Keep::all || p.densities.front() >= 1;
  const bool weighted = rule.combine == Combine::average || rule.combine == Combine::task_vectors;
  const bool one = !weighted || (p.normalise ? p.weights.front() != 0 : p.weights.front() == 1);
  return whole && one && p.scale == 1 ? &first : nullptr;
}

// What a block is computed in; a thread's own.
struct Buffers {
  std::vector<float> base, values, out;
  std::vector<std::vector<float>> parts;
};

void fit(std::vector<float>& buffer, const Block& block) { buffer.resize(static_cast<std::size_t>(block.elements())); }

class Merger {
 public:
  explicit Merger(const TensorMerge& merge) : merge_(merge), grid_(grid_of(merge)) {
    if (merge.rule->combine == Combine::task_vectors) {
      kept_ = find_kept(merge, grid_);
    } else if (merge.rule->combine == Combine::slerp && merge.operands.size() == 2) {
      shares_ = slerp_shares(merge, grid_);
    }
    fused_ = FusedMerge::of(merge, kept_, shares_);
  }

  const Grid& grid() const { return grid_; }

  // Writes the merged values of a block, [rows, width], in the result's type. Returns whether all are finite.
  bool write(const Block& block, Buffers& buffers, std::span<std::byte> to) const {
    return fused_ ? fused_->write(block, to) : round_to(merge_.header.dtype, values(block, buffers), to);
  }

  // The merged task vector of a block before it is scaled by depth, and its norms.
  Norms norms(const Block& block, Buffers& buffers) const {
    fit(buffers.out, block);
    fit(buffers.base, block);
    read_values(merge_.base, block, buffers.base);
    if (merge_.rule->combine == Combine::task_vectors) {
      mix(block, buffers, buffers.out);
      scale(buffers.out, merge_.parameters.scale);
    } else {
      mix_weights(block, buffers);
      subtract(buffers.base, buffers.out);
    }
    Norms norms{.l1 = absolute_sum(buffers.out), .squared = squared_sum(buffers.out)};
    fit(buffers.values, block);
    std::ranges::fill(buffers.out, 0.0f);
    for (const Operand& operand : merge_.operands) {
      read_task_vector(operand, block, buffers.base, buffers.values);
      add_scaled(buffers.values, 1, buffers.out);
    }
    norms.summed_l1 = absolute_sum(buffers.out);
    return norms;
  }

 private:
  // The merged values of a block, [rows, width].
  std::span<const float> values(const Block& block, Buffers& buffers) const {
    fit(buffers.out, block);
    const bool relative = merge_.rule->combine == Combine::task_vectors || merge_.parameters.depth != 1;
    if (relative) {
      fit(buffers.base, block);
      read_values(merge_.base, block, buffers.base);
    }
    if (merge_.rule->combine == Combine::task_vectors) {
      mix(block, buffers, buffers.out);
      scale(buffers.out, merge_.parameters.scale);
      scale(buffers.out, merge_.parameters.depth);
      add(buffers.base, buffers.out);
    } else {
      mix_weights(block, buffers);
      if (relative) interpolate(buffers.base, merge_.parameters.depth, buffers.out);
    }
    return buffers.out;
  }

  // The combination of the task vectors, not yet scaled.
  void mix(const Block& block, Buffers& buffers, std::vector<float>& mixed) const {
    const std::size_t count = merge_.operands.size();
    buffers.parts.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      fit(buffers.parts[i], block);
      read_task_vector(merge_.operands[i], block, buffers.base, buffers.parts[i]);
      drop_entries(kept_[i], block, merge_, i, buffers.parts[i]);
      scale(buffers.parts[i], merge_.parameters.weights[i]);
    }
    if (merge_.rule->elect) {
      mix_elected(buffers.parts, merge_.parameters.weights, merge_.parameters.normalise, mixed);
    } else {
      mix_all(buffers.parts, merge_.parameters.weights, merge_.parameters.normalise, mixed);
    }
  }

  // The combination of the tensors themselves.
  void mix_weights(const Block& block, Buffers& buffers) const {
    const Parameters& p = merge_.parameters;
    fit(buffers.values, block);
    read_values(merge_.operands.front().stored, block, buffers.out);
    if (merge_.operands.size() == 1 && merge_.rule->combine != Combine::average)
      return scale(buffers.out, merge_.rule->combine == Combine::passthrough ? p.scale : 1);
    const bool slerp = merge_.rule->combine == Combine::slerp;
    scale(buffers.out, slerp ? shares_.first : p.weights.front());
    double total = p.weights.front();
    for (std::size_t i = 1; i < merge_.operands.size(); ++i) {
      read_values(merge_.operands[i].stored, block, buffers.values);
      add_scaled(buffers.values, slerp ? shares_.second : p.weights[i], buffers.out);
      total += p.weights[i];
    }
    if (!slerp && p.normalise) divide(buffers.out, total);
  }

  const TensorMerge& merge_;
  Grid grid_;
  std::vector<Kept> kept_;
  std::pair<double, double> shares_ = {1, 0};
  std::optional<FusedMerge> fused_;
};

[[noreturn]] void fail_not_finite(const TensorMerge& merge) {
  fail(ErrorKind::numeric, "'", merge.header.name, "': the merged values hold NaN or infinity as ",
       dtype_name(merge.header.dtype), "; are the models' own weights finite, and are the weights and scales sane?");
}

}  // namespace

Norms& Norms::operator+=(const Norms& other) {
  l1 += other.l1;
  squared += other.squared;
  summed_l1 += other.summed_l1;
  return *this;
}

std::shared_ptr<std::byte[]> ResultMemory::take(std::uint64_t size) {
  if (last_ == nullptr || size > size_ || last_.use_count() > 1) {
    last_.reset();
    last_ = std::shared_ptr<std::byte[]>(new std::byte[size]);
    size_ = size;
  }
  return last_;
}

Blob merged_bytes(const TensorMerge& merge, ResultMemory* memory) {
  if (const Stored* stored = copied_from(merge))
    return {stored->checkpoint->bytes(*stored->tensor), stored->checkpoint};
  const std::uint64_t size = merge.header.size(), element = dtype_size(merge.header.dtype);
  ResultMemory own;
  const std::shared_ptr<std::byte[]> bytes = (memory == nullptr ? own : *memory).take(size);
  const Merger merger(merge);
  std::atomic<bool> finite = true;
  for_each_block(merger.grid(), [&, buffers = Buffers{}](const Block& block) mutable {
    const auto offset = static_cast<std::uint64_t>(block.start()) * element;
    const std::span<std::byte> to(bytes.get() + offset, static_cast<std::uint64_t>(block.elements()) * element);
    if (!merger.write(block, buffers, to)) finite = false;
  });
  if (!finite) fail_not_finite(merge);
  return {{bytes.get(), size}, bytes};
}

Norms norms(const TensorMerge& merge) {
  if (merge.rule == nullptr || merge.base.tensor == nullptr) return {};
  const Merger merger(merge);
  std::vector<Norms> blocks(static_cast<std::size_t>(merger.grid().blocks));
  for_each_block(merger.grid(), [&, buffers = Buffers{}](const Block& block) mutable {
    blocks[static_cast<std::size_t>(block.index)] = merger.norms(block, buffers);
  });
  Norms total;
  for (const Norms& block : blocks) total += block;
  return total;
}

}  // namespace streamline::merge
