// SPDX-License-Identifier: Apache-2.0
// What a search over many candidates has found so far: the next run of the same search goes on from there, after an
// interruption or for a larger cut. And what is true of the model whatever is searched for.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "streamline/base/json.h"
#include "streamline/engine/ranks.h"

namespace streamline {

// Under kStateForm in the keys of searches (base/state_key.h).
inline constexpr const char* kSearchForm = "search 1";

class SearchMemory {
 public:
  SearchMemory() = default;  // in memory only
  // Kept in a file as well, which need not be there yet; of several ranks, which all call the same, the first alone
  // reads and writes it.
  explicit SearchMemory(std::filesystem::path file, Ranks ranks = {})
      : file_(std::move(file)), ranks_(std::move(ranks)) {}

  // What was kept under this key, which says all that a search depends on; null when there is nothing. Errors: format
  // for a file that is no such state, or that of another search.
  Json recall(const Json& key);
  // Before the work, where the first rank alone calls it: that what the file has is of a search of which so far these
  // parts of the key are known. Errors: those of recall().
  void check(const Json& known) const;
  // Keeps `state` from now on. Errors: io.
  void keep(const Json& key, Json state);

  // What `make` gives, computed once for each name as long as this lives, which is with one model, one seed and one
  // set of questions. In memory only.
  const Json& fact(const std::string& name, const std::function<Json()>& make);

 private:
  Json read() const;

  std::filesystem::path file_;
  Ranks ranks_;
  Json key_, state_;
  std::map<std::string, Json> facts_;
};

}  // namespace streamline
