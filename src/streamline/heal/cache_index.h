// SPDX-License-Identifier: Apache-2.0
// What lies in a directory of hidden states: cache.json, which names its shards, their digests and when they were used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace streamline {

struct CachedShard {
  std::string sha256;
  std::uint64_t bytes = 0, used = 0;  // `used` counts up with every use of the directory
};

class CacheIndex {
 public:
  CacheIndex(const CacheIndex&) = delete;
  CacheIndex& operator=(const CacheIndex&) = delete;
  // Reads the index, or begins one for `model` (a digest). Files that it does not name, of writes that were cut short,
  // are removed. Errors: mismatch for another model's directory, which are then called `others`; format.
  CacheIndex(
      std::filesystem::path directory, std::string model,
      const std::string& others = "the hidden states of another model; give another --cache, or delete this one");
  ~CacheIndex();  // saves what was touched and removed since the last time, where that can be

  const CachedShard* find(const std::string& name) const;
  std::filesystem::path path(const std::string& name) const { return directory_ / name; }
  // Drops the least recently used shards that `keep` does not begin the name of, until `bytes` more fit under `limit`.
  // false when they do not.
  bool make_room(std::uint64_t bytes, std::uint64_t limit, const std::string& keep);
  void add(const std::string& name, const std::string& sha256, std::uint64_t bytes);
  void touch(const std::string& name);
  void remove(const std::string& name);
  void save();

 private:
  std::uint64_t total() const;
  std::filesystem::path directory_;
  std::string model_;
  std::map<std::string, CachedShard> shards_;
  std::uint64_t clock_ = 0;
  bool saved_ = true;
};

}  // namespace streamline
