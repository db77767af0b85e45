// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/disjoint_windows.h"

#include <algorithm>
#include <limits>

#include "streamline/base/error.h"
#include "streamline/prune/cut_request.h"

namespace streamline {
namespace {

// The best that can be had of layers at … with so many windows of the two lengths still to place.
class Search {
 public:
  Search(const Scores& scores, std::int64_t shorter, std::int64_t before, const std::vector<std::int64_t>& protect)
      : scores_(scores), shorter_(shorter), before_(before), protect_(protect) {}

  // {sum of cosines, start of the first window, its length}; start < 0: there is no room.
  struct Best {
    double sum = -std::numeric_limits<double>::infinity();
    std::int64_t start = -1, count = 0;
  };

  Best best(std::int64_t at, std::int64_t longer, std::int64_t shorter) {
    if (longer == 0 && shorter == 0) return {.sum = 0};
    const auto key = std::tuple(at, longer, shorter);
    if (const auto known = known_.find(key); known != known_.end()) return known->second;
    Best found;
    for (std::int64_t start = at + before_; start < scores_.layers; ++start)
      for (const bool is_longer : {true, false}) {
        if ((is_longer ? longer : shorter) == 0) continue;
        const std::int64_t count = shorter_ + (is_longer ? 1 : 0);
        if (start + count > scores_.layers || holds_any(protect_, start, count)) continue;
        const Best rest = best(start + count, longer - (is_longer ? 1 : 0), shorter - (is_longer ? 0 : 1));
        const double sum = scores_.window_cosine(start, count) + rest.sum;
        if (sum > found.sum) found = {sum, start, count};
      }
    return known_[key] = found;
  }

 private:
  const Scores& scores_;
  std::int64_t shorter_, before_;
  const std::vector<std::int64_t>& protect_;
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, Best> known_ = {};
};

}  // namespace

std::optional<std::vector<Window>> possible_windows(const Scores& scores, std::int64_t count, std::int64_t windows,
                                                    std::int64_t before, const std::vector<std::int64_t>& protect) {
  if (windows < 1 || windows > count) return std::nullopt;
  const std::int64_t shorter = count / windows;
  std::int64_t longer_left = count % windows, shorter_left = windows - longer_left, at = 0;
  Search search(scores, shorter, before, protect);
  std::vector<Window> chosen;
  while (longer_left + shorter_left > 0) {
    const auto best = search.best(at, longer_left, shorter_left);
    if (best.start < 0) return std::nullopt;
    chosen.push_back({best.start, best.count, scores.window_cosine(best.start, best.count)});
    --(best.count > shorter ? longer_left : shorter_left);
    at = best.start + best.count;
  }
  return chosen;
}

std::vector<Window> disjoint_windows(const Scores& scores, std::int64_t count, std::int64_t windows,
                                     std::int64_t before, const std::vector<std::int64_t>& protect) {
  if (windows < 1 || windows > count)
    fail(ErrorKind::usage, windows, " windows of ", count, " layers to cut: each takes at least one");
  std::optional<std::vector<Window>> chosen = possible_windows(scores, count, windows, before, protect);
  if (!chosen)
    fail(ErrorKind::usage, "there is no room for ", windows, " windows with ", count, " layers in all",
         before > 0 ? ", each with a layer before it," : "", " among the layers that are not protected");
  return std::move(*chosen);
}

}  // namespace streamline
