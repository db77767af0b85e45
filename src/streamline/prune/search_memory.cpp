// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/search_memory.h"

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/base/state_key.h"

namespace streamline {
namespace {

constexpr const char* kSearchFormat = "streamline-search";

void check_same_search(const Json& kept, const Json& mine, const std::string& where) {
  const std::string other = difference(kept, mine, "search");
  // No mismatch, which a budget takes for a size that cannot be had.
  if (!other.empty()) fail(ErrorKind::format, where, ": ", other, "; choose another --state, or delete it");
}

}  // namespace

// All that the file has; null without one.
Json SearchMemory::read() const {
  std::error_code error;
  if (!std::filesystem::exists(file_, error)) return {};
  const std::string where = file_.string();
  const Json file = parse_json(read_text(file_), where);
  const bool is_state = file.is_object() && file.value("format", Json()) == kSearchFormat && file.contains("key") &&
                        file.contains("state") && file["state"].is_object();
  if (!is_state) fail(ErrorKind::format, where, ": is not the state of a search; delete it to begin anew");
  return file;
}

void SearchMemory::check(const Json& known) const {
  const Json file = file_.empty() ? Json() : read();
  if (!file.is_null()) check_same_search(parts_named_in(known, file["key"]), known, file_.string());
}

Json SearchMemory::recall(const Json& key) {
  if (!state_.is_null()) return key_ == key ? state_ : Json();
  if (file_.empty()) return {};
  key_ = key;
  const auto found = [&]() -> Json {
    const Json file = read();
    if (file.is_null()) return {};
    check_same_search(file["key"], key, file_.string());
    log_info("the search goes on from " + file_.string());
    return file["state"];
  };
  return state_ = parse_json(ranks_.broadcast(ranks_.first() ? dump_json(found()) : ""), "the first rank's state");
}

void SearchMemory::keep(const Json& key, Json state) {
  key_ = key;
  state_ = std::move(state);
  if (file_.empty() || !ranks_.first()) return;
  if (file_.has_parent_path()) std::filesystem::create_directories(file_.parent_path());
  write_text(file_, dump_json({{"format", kSearchFormat}, {"key", key_}, {"state", state_}}));
}

const Json& SearchMemory::fact(const std::string& name, const std::function<Json()>& make) {
  const auto known = facts_.find(name);
  return known != facts_.end() ? known->second : facts_.emplace(name, make()).first->second;
}

}  // namespace streamline
