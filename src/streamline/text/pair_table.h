// SPDX-License-Identifier: Apache-2.0
// A hash table from pairs of 32-bit numbers to two numbers, in one flat array: looked up for every pair of symbols.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace streamline {

class PairTable {
 public:
  struct Value {
    std::int32_t rank = -1, result = -1;
  };

  // Replaces what the pair had.
  void insert(std::uint32_t left, std::uint32_t right, Value value) {
    if ((count_ + 1) * 2 > slots_.size()) grow();
    Slot& slot = slots_[place(key_of(left, right))];
    if (slot.key == kFree) ++count_;
    slot = {key_of(left, right), value};
  }

  // nullptr when the pair is not there.
  const Value* find(std::uint32_t left, std::uint32_t right) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[place(key_of(left, right))];
    return slot.key == kFree ? nullptr : &slot.value;
  }

 private:
  struct Slot {
    std::uint64_t key = kFree;
    Value value;
  };
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};

  static std::uint64_t key_of(std::uint32_t left, std::uint32_t right) { return std::uint64_t{left} << 32 | right; }

  std::size_t place(std::uint64_t key) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = (key * 0x9E3779B97F4A7C15u) >> shift_;
    while (slots_[at].key != kFree && slots_[at].key != key) at = (at + 1) & mask;
    return at;
  }

  void grow() {
    std::vector<Slot> old(slots_.empty() ? 16 : slots_.size() * 2);
    old.swap(slots_);
    shift_ = 64 - __builtin_ctzll(slots_.size());
    for (const Slot& slot : old)
      if (slot.key != kFree) slots_[place(slot.key)] = slot;
  }

  std::vector<Slot> slots_;  // a power of two, at most half full
  std::size_t count_ = 0;
  int shift_ = 64;
};

}  // namespace streamline
