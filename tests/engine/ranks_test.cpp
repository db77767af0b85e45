// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/ranks.h"

#include <atomic>
#include <map>
#include <mutex>
#include <random>

#include "streamline/base/error.h"
#include "support/core/expect.h"
#include "support/torch/rank_threads.h"

namespace streamline {
namespace {

using test::environment_of;
using test::free_port;
using test::in_ranks;
using namespace std::chrono_literals;

using Variables = std::map<std::string, std::string>;

RankEnvironment environment_with(const Variables& variables) {
  return rank_environment([&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

const Variables kSecondOfThree = {{"WORLD_SIZE", "3"},          {"RANK", "1"},
                                  {"LOCAL_WORLD_SIZE", "2"},    {"LOCAL_RANK", "1"},
                                  {"MASTER_ADDR", "node-0"},    {"MASTER_PORT", "29500"},
                                  {"TORCHELASTIC_RUN_ID", "a"}, {"TORCHELASTIC_RESTART_COUNT", "2"}};

Variables with(Variables variables, const std::string& name, const std::string& value) {
  variables[name] = value;
  return variables;
}

Variables without(Variables variables, const std::string& name) {
  variables.erase(name);
  return variables;
}

TEST(RankEnvironment, IsOneProcessWithoutAWorldSize) {
  EXPECT_TRUE(environment_with({}).alone());
  EXPECT_TRUE(environment_with({{"WORLD_SIZE", "1"}, {"RANK", "nonsense"}}).alone());
}

TEST(RankEnvironment, IsReadAsTorchrunSetsIt) {
  const RankEnvironment found = environment_with(with(kSecondOfThree, "TORCHELASTIC_USE_AGENT_STORE", "True"));
  EXPECT_EQ(found.rank, 1);
  EXPECT_EQ(found.size, 3);
  EXPECT_EQ(found.local_rank, 1);
  EXPECT_EQ(found.local_size, 2);
  EXPECT_EQ(found.address, "node-0");
  EXPECT_EQ(found.port, 29500);
  EXPECT_TRUE(found.has_store);
  EXPECT_FALSE(found.on_one_machine());
  EXPECT_NE(found.run, environment_with(with(kSecondOfThree, "TORCHELASTIC_RESTART_COUNT", "3")).run);
  EXPECT_FALSE(environment_with(kSecondOfThree).has_store);
}

TEST(RankEnvironment, NamesTheVariableThatMakesNoSense) {
  for (const auto& [name, value] : Variables{{"WORLD_SIZE", "0"},
                                             {"WORLD_SIZE", "two"},
                                             {"RANK", "3"},
                                             {"RANK", "-1"},
                                             {"LOCAL_WORLD_SIZE", "4"},
                                             {"LOCAL_RANK", "2"},
                                             {"MASTER_PORT", "65536"}}) {
    const std::string error = error_of([&] { environment_with(with(kSecondOfThree, name, value)); });
    EXPECT_NE(error.find(name + "='" + value + "'"), std::string::npos) << error;
  }
  for (const char* name : {"RANK", "MASTER_ADDR", "MASTER_PORT"}) {
    const std::string error = error_of([&] { environment_with(without(kSecondOfThree, name)); });
    EXPECT_NE(error.find(name), std::string::npos) << error;
  }
}

TEST(Ranks, AloneGiveBackWhatTheyGet) {
  const Ranks ranks;
  std::vector<double> values = {1, 2};
  ranks.sum(values);
  EXPECT_EQ(values, (std::vector<double>{1, 2}));
  EXPECT_EQ(ranks.gather("a"), std::vector<std::string>{"a"});
  EXPECT_EQ(ranks.broadcast("b"), "b");
  EXPECT_EQ(ranks.finish(3), 3);
  EXPECT_TRUE(ranks.first() && ranks.alone() && ranks.takes(7));
}

std::vector<double> random_values(int rank, std::size_t count) {
  std::mt19937_64 generator(static_cast<std::uint64_t>(rank));
  std::vector<double> values(count);
  for (double& value : values) value = std::normal_distribution<double>(0, 1e3)(generator);
  return values;
}

TEST(Ranks, SumInTheirOrderToTheSameBits) {
  constexpr std::size_t kCount = 150'001;  // more than is added at once, and no multiple of it
  std::vector<double> expected = random_values(0, kCount);
  for (int rank = 1; rank < 3; ++rank) {
    const std::vector<double> more = random_values(rank, kCount);
    for (std::size_t i = 0; i < kCount; ++i) expected[i] += more[i];
  }
  in_ranks(3, [&](const Ranks& ranks) {
    std::vector<double> values = random_values(ranks.rank(), kCount);
    ranks.sum(values);
    EXPECT_EQ(values, expected);
    // (1e16 + 1) - 1e16 is 0, in another order 1.
    EXPECT_EQ(ranks.sum(std::vector<double>{1e16, 1, -1e16}[static_cast<std::size_t>(ranks.rank())]), 0);
    ranks.sum(std::span<double>());
    ranks.finish(0);
  });
}

TEST(Ranks, SumAndBroadcastTensors) {
  in_ranks(2, [](const Ranks& ranks) {
    const float own = static_cast<float>(ranks.rank() + 1);
    const torch::Tensor dense = torch::full({3, 5}, own), turned = torch::full({4, 2}, own).t();
    ranks.sum({dense, turned});
    EXPECT_TRUE(dense.eq(3).all().item<bool>());
    EXPECT_TRUE(turned.eq(3).all().item<bool>());
    const torch::Tensor half = torch::full({7}, own, torch::kBFloat16);
    ranks.broadcast({half});
    EXPECT_TRUE(half.eq(1).all().item<bool>());
    ranks.finish(0);
  });
}

TEST(Ranks, GatherInTheirOrder) {
  in_ranks(3, [](const Ranks& ranks) {
    EXPECT_EQ(ranks.gather(std::string(static_cast<std::size_t>(ranks.rank()), 'x')),
              (std::vector<std::string>{"", "x", "xx"}));
    EXPECT_EQ(ranks.broadcast("from " + std::to_string(ranks.rank())), "from 0");
    const std::vector<double> mine(static_cast<std::size_t>(ranks.rank()), ranks.rank());
    EXPECT_EQ(ranks.concatenate(mine), (std::vector<double>{1, 2, 2}));
    ranks.finish(0);
  });
}

TEST(Ranks, TakeEachPartOnce) {
  std::array<std::atomic<int>, 7> taken{};
  in_ranks(3, [&](const Ranks& ranks) {
    for (std::size_t part = 0; part < taken.size(); ++part)
      if (ranks.takes(static_cast<std::int64_t>(part))) ++taken[part];
    ranks.finish(0);
  });
  for (const auto& count : taken) EXPECT_EQ(count, 1);
}

TEST(Ranks, EndWithTheStatusOfTheFirst) {
  in_ranks(3, [](const Ranks& ranks) { EXPECT_EQ(ranks.finish(ranks.first() ? 3 : 0), 3); });
}

// What each of the ranks prints when they fail as `work` does.
std::vector<std::string> printed(int size, const std::function<void(const Ranks&)>& work,
                                 std::chrono::seconds patience = 60s) {
  std::vector<std::string> lines(static_cast<std::size_t>(size));
  in_ranks(
      size,
      [&](const Ranks& ranks) {
        try {
          work(ranks);
        } catch (const Error& error) {
          lines[static_cast<std::size_t>(ranks.rank())] =
              ranks.fail_together(error.kind() == ErrorKind::interrupted, error.what());
        }
      },
      patience);
  return lines;
}

void sum_one(const Ranks& ranks) { ranks.sum(1.0); }

TEST(Ranks, SayOnceWhatWentWrongInOneOfThem) {
  for (const int failing : {0, 1, 2}) {
    const auto lines = printed(3, [&](const Ranks& ranks) {
      if (ranks.rank() == failing) fail(ErrorKind::numeric, "layer 4 is NaN");
      sum_one(ranks);
    });
    const std::string where = failing == 0 ? "" : "rank " + std::to_string(failing) + ": ";
    EXPECT_EQ(lines, (std::vector<std::string>{where + "layer 4 is NaN", "", ""}));
  }
}

TEST(Ranks, SayOnceWhatWentWrongInAll) {
  const auto lines = printed(3, [&](const Ranks&) { fail(ErrorKind::io, "no such file"); });
  EXPECT_EQ(lines, (std::vector<std::string>{"no such file", "", ""}));
}

TEST(Ranks, NoticeOneThatGoesWithoutAWord) {
  const auto lines = printed(3, [&](const Ranks& ranks) {
    if (ranks.rank() == 2) return;
    sum_one(ranks);
  });
  EXPECT_EQ(lines[0],
            "rank 2 ended before the work was done (killed, or out of memory); nothing was written, start all "
            "ranks again");
  EXPECT_EQ(lines[1] + lines[2], "");
}

TEST(Ranks, NoticeThatTheFirstGoesWithoutAWord) {
  const auto lines = printed(3, [&](const Ranks& ranks) {
    if (ranks.first()) return;
    sum_one(ranks);
  });
  EXPECT_NE(lines[1].find("rank 0 ended before the work was done"), std::string::npos) << lines[1];
  EXPECT_EQ(lines[0] + lines[2], "");
}

TEST(Ranks, WaitForASilentOneOnlySoLong) {
  std::atomic<bool> over{false};
  const auto lines = printed(
      2,
      [&](const Ranks& ranks) {
        while (ranks.rank() == 1 && !over) std::this_thread::sleep_for(10ms);
        try {
          sum_one(ranks);
        } catch (...) {
          over = true;
          throw;
        }
      },
      1s);
  EXPECT_NE(lines[0].find("rank 1 has said nothing for 1 s"), std::string::npos) << lines[0];
  EXPECT_EQ(lines[1], "");
}

TEST(Ranks, NoticeThatTheyDoDifferentWork) {
  const auto lines = printed(2, [&](const Ranks& ranks) {
    if (ranks.first())
      sum_one(ranks);
    else
      ranks.gather("");
  });
  EXPECT_NE(lines[0].find("rank 1 does other work"), std::string::npos) << lines[0];
}

TEST(Ranks, NoticeThatTheyDisagreeOnALength) {
  const auto lines = printed(2, [&](const Ranks& ranks) {
    std::vector<double> values(static_cast<std::size_t>(ranks.rank() + 1));
    ranks.sum(values);
  });
  EXPECT_NE(lines[0].find("rank 1 has 16 bytes where this rank has 8"), std::string::npos) << lines[0];
}

TEST(Ranks, SayWhoDidNotCome) {
  const std::string error = error_of([] { Ranks::join(environment_of(0, 3, free_port()), 1s); });
  EXPECT_NE(error.find("rank 1, 2"), std::string::npos) << error;
  const std::string alone = error_of([] { Ranks::join(environment_of(1, 2, free_port()), 1s); });
  EXPECT_NE(alone.find("rank 0 did not come within 1 s"), std::string::npos) << alone;
}

TEST(Ranks, TakeNoNoticeOfStrangers) {
  const std::uint16_t port = free_port();
  std::thread first([&] {
    const Ranks ranks = Ranks::join(environment_of(0, 2, port), 60s);
    EXPECT_EQ(ranks.sum(1.0), 3);
    ranks.finish(0);
  });
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  const int stranger = ::socket(AF_INET, SOCK_STREAM, 0);
  while (::connect(stranger, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    std::this_thread::sleep_for(10ms);
  const std::string words = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
  EXPECT_EQ(::send(stranger, words.data(), words.size(), MSG_NOSIGNAL), std::ssize(words));
  const Ranks ranks = Ranks::join(environment_of(1, 2, port), 60s);
  EXPECT_EQ(ranks.sum(2.0), 3);
  ranks.finish(0);
  first.join();
  ::close(stranger);
}

}  // namespace
}  // namespace streamline
