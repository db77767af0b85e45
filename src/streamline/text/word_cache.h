// SPDX-License-Identifier: Apache-2.0
// Words and their tokens: text repeats its words, and a look-up is an order of magnitude cheaper than merging.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/text/tokenizer.h"

namespace streamline {

class WordCache {
 public:
  static constexpr std::size_t kLongestWord = 64;  // bytes; longer ones hardly ever come back

  static std::uint64_t hash(std::string_view word) {
    std::uint64_t h = word.size() * 0x9E3779B97F4A7C15u;
    for (; word.size() >= 8; word.remove_prefix(8)) h = mix(h ^ load(word.data(), 8));
    return mix(h ^ load(word.data(), word.size()));
  }

  // nullptr data when the word is not there.
  std::span<const TokenId> find(std::string_view word, std::uint64_t hash) const {
    if (slots_.empty()) return {};
    const Slot& slot = slots_[place(word, hash)];
    return {slot.ids_size == 0 ? nullptr : ids_.data() + slot.ids, slot.ids_size};
  }

  // Words without tokens are not kept. Forgets everything when full.
  void insert(std::string_view word, std::uint64_t hash, std::span<const TokenId> ids) {
    if (ids.empty()) return;
    if (count_ >= kMostWords) *this = {};
    if (slots_.empty()) slots_.resize(2 * kMostWords);
    Slot& slot = slots_[place(word, hash)];
    slot = {hash, static_cast<std::uint32_t>(text_.size()), static_cast<std::uint32_t>(ids_.size()),
            static_cast<std::uint16_t>(word.size()), static_cast<std::uint16_t>(ids.size())};
    text_ += word;
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    ++count_;
  }

 private:
  struct Slot {
    std::uint64_t hash = 0;
    std::uint32_t text = 0, ids = 0;
    std::uint16_t text_size = 0, ids_size = 0;  // ids_size 0: free
  };
  static constexpr std::size_t kMostWords = 1 << 16;  // with their text and ids about 6 MB

  static std::uint64_t load(const char* bytes, std::size_t size) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes, size);
    return value;
  }
  static std::uint64_t mix(std::uint64_t value) {
    value *= 0xD6E8FEB86659FD93u;
    return value ^ value >> 32;
  }

  std::size_t place(std::string_view word, std::uint64_t hash) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    while (slots_[at].ids_size != 0 && !holds(slots_[at], word, hash)) at = (at + 1) & mask;
    return at;
  }
  bool holds(const Slot& slot, std::string_view word, std::uint64_t hash) const {
    return slot.hash == hash && std::string_view(text_).substr(slot.text, slot.text_size) == word;
  }

  std::vector<Slot> slots_;
  std::string text_;
  std::vector<TokenId> ids_;
  std::size_t count_ = 0;
};

}  // namespace streamline
