// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/cache_index.h"

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "streamline/base/unfinished.h"

namespace streamline {
namespace {

constexpr const char* kIndex = "cache.json";

bool is_shard(const std::filesystem::path& path) { return path.extension() == ".states"; }

}  // namespace

CacheIndex::CacheIndex(std::filesystem::path directory, std::string model, const std::string& others)
    : directory_(std::move(directory)), model_(std::move(model)) {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error) fail(ErrorKind::io, directory_.string(), ": cannot be made: ", error.message());
  const std::filesystem::path file = directory_ / kIndex;
  const std::string where = file.string();
  if (std::filesystem::exists(file, error)) {
    const Json json = parse_json(read_text(file), where);
    try {
      if (json.at("model").get<std::string>() != model_)
        fail(ErrorKind::mismatch, directory_.string(), ": these are ", others);
      clock_ = json.at("clock").get<std::uint64_t>();
      for (const auto& [name, shard] : json.at("shards").items()) {
        const std::filesystem::path path = name;
        if (path.has_parent_path() || !is_shard(path))
          fail(ErrorKind::format, where, ": '", name, "' is no name of a shard");
        shards_[name] = {shard.at("sha256").get<std::string>(), shard.at("bytes").get<std::uint64_t>(),
                         shard.at("used").get<std::uint64_t>()};
      }
    } catch (const Json::exception& problem) {
      fail(ErrorKind::format, where, ": damaged (", problem.what(), "); delete the directory to begin anew");
    }
  }
  ++clock_;
  remove_unfinished(directory_);
  for (const auto& entry : std::filesystem::directory_iterator(directory_, error))
    if (is_shard(entry.path()) && shards_.count(entry.path().filename().string()) == 0)
      std::filesystem::remove(entry.path(), error);
}

CacheIndex::~CacheIndex() {
  try {
    if (!saved_) save();
  } catch (const std::exception&) {  // the next run finds out itself
  }
}

const CachedShard* CacheIndex::find(const std::string& name) const {
  const auto found = shards_.find(name);
  return found == shards_.end() ? nullptr : &found->second;
}

std::uint64_t CacheIndex::total() const {
  std::uint64_t bytes = 0;
  for (const auto& [name, shard] : shards_) bytes += shard.bytes;
  return bytes;
}

bool CacheIndex::make_room(std::uint64_t bytes, std::uint64_t limit, const std::string& keep) {
  const std::size_t before = shards_.size();
  const auto fits = [&] { return total() + bytes <= limit; };
  while (!fits()) {
    const std::string* oldest = nullptr;
    for (const auto& [name, shard] : shards_)
      if (!name.starts_with(keep) && (oldest == nullptr || shard.used < shards_.at(*oldest).used)) oldest = &name;
    if (oldest == nullptr) break;
    remove(std::string(*oldest));
  }
  if (shards_.size() < before) save();
  return fits();
}

void CacheIndex::add(const std::string& name, const std::string& sha256, std::uint64_t bytes) {
  shards_[name] = {sha256, bytes, clock_};
  save();
}

void CacheIndex::touch(const std::string& name) {
  shards_.at(name).used = clock_;
  saved_ = false;
}

void CacheIndex::remove(const std::string& name) {
  std::error_code ignored;
  std::filesystem::remove(path(name), ignored);
  shards_.erase(name);
  saved_ = false;
}

void CacheIndex::save() {
  Json shards = Json::object();
  for (const auto& [name, shard] : shards_)
    shards[name] = {{"sha256", shard.sha256}, {"bytes", shard.bytes}, {"used", shard.used}};
  write_text(directory_ / kIndex, dump_json({{"model", model_}, {"clock", clock_}, {"shards", shards}}));
  saved_ = true;
}

}  // namespace streamline
