// SPDX-License-Identifier: Apache-2.0
// Ranks as threads of one process.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "streamline/engine/ranks.h"

namespace streamline::test {

// A port that nobody listens on.
inline std::uint16_t free_port() {
  const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  EXPECT_EQ(::bind(probe, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &length), 0);
  ::close(probe);
  return ntohs(address.sin_port);
}

inline RankEnvironment environment_of(int rank, int size, std::uint16_t port) {
  return {.rank = rank,
          .size = size,
          .local_rank = rank,
          .local_size = size,
          .address = "127.0.0.1",
          .port = port,
          .has_store = false,
          .run = "test"};
}

// Runs `work` as each of `size` ranks at once; an exception of one fails the test.
inline void in_ranks(int size, const std::function<void(const Ranks&)>& work,
                     std::chrono::seconds patience = std::chrono::seconds(60)) {
  const std::uint16_t port = free_port();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      EXPECT_NO_THROW(work(Ranks::join(environment_of(rank, size, port), patience))) << "rank " << rank;
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace streamline::test
