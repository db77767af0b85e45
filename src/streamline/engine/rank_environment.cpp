// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/rank_environment.h"

#include <cstdlib>

#include "streamline/base/error.h"
#include "streamline/base/parse_number.h"

namespace streamline {
namespace {

constexpr int kMostRanks = 4096;
constexpr const char* kAdvice =
    "; start with `torchrun --no-python --nproc-per-node N streamline …`, or unset WORLD_SIZE for one process";

using Variable = std::function<std::optional<std::string>(const char*)>;

int whole_number(const Variable& variable, const char* name, int least, int most, std::optional<int> fallback = {}) {
  const std::optional<std::string> word = variable(name);
  if (!word && fallback) return *fallback;
  if (!word) fail(ErrorKind::usage, "WORLD_SIZE asks for several ranks, but ", name, " is not set", kAdvice);
  const auto value = parse_number<int>(*word);
  if (!value || *value < least || *value > most)
    fail(ErrorKind::usage, "the environment's ", name, "='", *word, "': expected ", least, " to ", most, kAdvice);
  return *value;
}

}  // namespace

RankEnvironment rank_environment(const Variable& variable) {
  RankEnvironment found;
  found.size = whole_number(variable, "WORLD_SIZE", 1, kMostRanks, 1);
  if (found.alone()) return found;
  found.rank = whole_number(variable, "RANK", 0, found.size - 1);
  // Launchers that do not say how many share a machine: each has its own.
  found.local_size = whole_number(variable, "LOCAL_WORLD_SIZE", 1, found.size, 1);
  found.local_rank = whole_number(variable, "LOCAL_RANK", 0, found.local_size - 1, 0);
  found.address = variable("MASTER_ADDR").value_or("");
  if (found.address.empty())
    fail(ErrorKind::usage, "WORLD_SIZE asks for several ranks, but MASTER_ADDR is not set", kAdvice);
  found.port = static_cast<std::uint16_t>(whole_number(variable, "MASTER_PORT", 1, 65535));
  found.has_store = variable("TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True";
  found.run =
      variable("TORCHELASTIC_RUN_ID").value_or("none") + "/" + variable("TORCHELASTIC_RESTART_COUNT").value_or("0");
  return found;
}

RankEnvironment rank_environment() {
  return rank_environment([](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
  });
}

}  // namespace streamline
