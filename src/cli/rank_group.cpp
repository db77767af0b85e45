// SPDX-License-Identifier: Apache-2.0
#include "rank_group.h"

#include <cstdlib>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/parse_number.h"

namespace streamline::cli {
namespace {

constexpr std::chrono::seconds kRankPatience{1800};
constexpr int kMostPatience = 1'000'000;

Ranks& remembered_ranks() {
  static Ranks group;
  return group;
}

std::chrono::seconds rank_patience() {
  const char* given = std::getenv("STREAMLINE_RANK_TIMEOUT");
  if (given == nullptr) return kRankPatience;
  const auto seconds = parse_number<int>(given);
  if (!seconds || *seconds < 1 || *seconds > kMostPatience)
    fail(ErrorKind::usage, "the environment's STREAMLINE_RANK_TIMEOUT='", given, "': expected seconds, 1 to ",
         kMostPatience);
  return std::chrono::seconds(*seconds);
}

}  // namespace

const Ranks& join_ranks() {
  const RankEnvironment environment = rank_environment();
  if (environment.alone()) return ranks();
  remembered_ranks() = Ranks::join(environment, rank_patience());
  ranks().watch();
  if (!ranks().first()) set_log_level(LogLevel::none);
  return ranks();
}

const Ranks& ranks() { return remembered_ranks(); }

bool all_see(bool there, const std::string& where) {
  for (const std::string& seen : ranks().gather(there ? "1" : "0"))
    if (seen != (there ? "1" : "0"))
      fail(ErrorKind::io, where,
           ": some ranks find results there and some do not; give a folder that all of them share");
  return there;
}

}  // namespace streamline::cli
