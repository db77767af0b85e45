// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/rank_meeting.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <sstream>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/version.h"
#include "streamline/nn/torch.h"

namespace streamline {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kRetry = 50ms;
constexpr auto kHelloPatience = 10s;  // with a stranger that connects and says nothing

// Where the first rank listens; the token keeps out who does not belong to the run.
struct MeetingPlace {
  std::uint16_t port = 0;
  std::string token;
};

struct Addresses {
  explicit Addresses(const char* host, std::uint16_t port, int flags) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    const int error = ::getaddrinfo(host, std::to_string(port).c_str(), &hints, &first);
    if (error != 0) fail(ErrorKind::io, "MASTER_ADDR '", host, "': ", ::gai_strerror(error));
  }
  ~Addresses() {
    if (first != nullptr) ::freeaddrinfo(first);
  }
  Addresses(const Addresses&) = delete;
  Addresses& operator=(const Addresses&) = delete;
  addrinfo* first = nullptr;
};

// A socket that is closed unless it is taken.
struct Socket {
  int descriptor = -1;
  ~Socket() {
    if (descriptor >= 0) ::close(descriptor);
  }
  int take() { return std::exchange(descriptor, -1); }
};

// Ranks of one machine keep to it.
const char* meeting_host(const RankEnvironment& environment) {
  return environment.on_one_machine() ? "127.0.0.1" : environment.address.c_str();
}

void listen_at(Socket& listener, const RankEnvironment& environment, std::uint16_t& port) {
  const Addresses addresses(environment.on_one_machine() ? "127.0.0.1" : nullptr, port, AI_PASSIVE);
  for (const addrinfo* at = addresses.first; at != nullptr; at = at->ai_next) {
    Socket candidate{::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, 0)};
    const int yes = 1;
    ::setsockopt(candidate.descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (candidate.descriptor < 0 || ::bind(candidate.descriptor, at->ai_addr, at->ai_addrlen) != 0 ||
        ::listen(candidate.descriptor, SOMAXCONN) != 0)
      continue;
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    ::getsockname(candidate.descriptor, reinterpret_cast<sockaddr*>(&bound), &length);
    port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                             : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
    listener.descriptor = candidate.take();
    return;
  }
  fail(ErrorKind::io, "rank 0 cannot listen on port ", port, " (MASTER_PORT): ", std::strerror(errno));
}

int try_connect(const char* host, std::uint16_t port) {
  const Addresses addresses(host, port, 0);
  for (const addrinfo* at = addresses.first; at != nullptr; at = at->ai_next) {
    Socket candidate{::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, 0)};
    if (candidate.descriptor >= 0 && ::connect(candidate.descriptor, at->ai_addr, at->ai_addrlen) == 0)
      return candidate.take();
  }
  return -1;
}

std::unique_ptr<c10d::TCPStore> open_store(const RankEnvironment& environment, std::chrono::seconds patience) {
  try {
    c10d::TCPStoreOptions options;
    options.port = environment.port;
    options.waitWorkers = false;
    options.timeout = patience;
    return std::make_unique<c10d::TCPStore>(environment.address, options);
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    fail(ErrorKind::io, "the launcher's store at ", environment.address, ":", environment.port,
         " (MASTER_ADDR, MASTER_PORT): ", text.substr(0, text.find('\n')));
  }
}

std::string key_of(const RankEnvironment& environment) { return "streamline/" + environment.run; }

void publish(const RankEnvironment& environment, const MeetingPlace& place, std::chrono::seconds patience) {
  if (!environment.has_store) return;
  const std::string text = std::to_string(place.port) + " " + place.token;
  translating_errors([&] {
    open_store(environment, patience)->set(key_of(environment), std::vector<std::uint8_t>(text.begin(), text.end()));
  });
}

[[noreturn]] void fail_alone(std::chrono::seconds patience) {
  fail(ErrorKind::io, "rank 0 did not come within ", patience.count(),
       " s; look whether it runs, and start all ranks again");
}

MeetingPlace look_up(const RankEnvironment& environment, Clock::time_point deadline, std::chrono::seconds patience) {
  if (!environment.has_store) return {environment.port, "none"};
  const auto store = open_store(environment, patience);
  const std::string key = key_of(environment);
  return translating_errors([&] {
    while (!store->check({key})) {
      check_interrupted();
      if (Clock::now() > deadline) fail_alone(patience);
      std::this_thread::sleep_for(kRetry);
    }
    const std::vector<std::uint8_t> value = store->get(key);
    MeetingPlace place;
    std::istringstream(std::string(value.begin(), value.end())) >> place.port >> place.token;
    return place;
  });
}

std::string greeting(const RankEnvironment& environment, const std::string& token) {
  return token + " " + std::to_string(environment.size) + " " + std::string(program_version()) + " ";
}

// The rank that a greeting comes from; none for a stranger's.
std::optional<int> greeted_by(RankLink& link, const RankEnvironment& environment, const std::string& token) {
  std::string text;
  try {
    text = link.receive_text(MessageKind::hello, 0);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted) throw;
    return std::nullopt;
  }
  std::istringstream words(text);
  std::string their_token, version;
  int size = 0, rank = 0;
  words >> their_token >> size >> version >> rank;
  if (!words || their_token != token) return std::nullopt;
  if (size != environment.size || version != program_version() || rank < 1 || rank >= size)
    fail(ErrorKind::mismatch, "rank ", rank, " of ", size, " runs streamline ", version, ", rank 0 of ",
         environment.size, " runs ", program_version(), "; start the same program everywhere");
  return rank;
}

[[noreturn]] void fail_missing(const std::vector<std::optional<RankLink>>& links, std::chrono::seconds patience) {
  std::string missing;
  for (std::size_t i = 0; i < links.size(); ++i)
    if (!links[i]) missing += (missing.empty() ? "" : ", ") + std::to_string(i + 1);
  fail(ErrorKind::io, "did not come within ", patience.count(), " s: rank ", missing,
       "; look whether they run, and start all ranks again");
}

std::vector<RankLink> receive_all(const RankEnvironment& environment, std::chrono::seconds patience) {
  MeetingPlace place{.port = environment.has_store ? std::uint16_t{0} : environment.port, .token = "none"};
  Socket listener;
  listen_at(listener, environment, place.port);
  if (environment.has_store) {
    std::random_device random;
    place.token = std::to_string(random()) + "-" + std::to_string(random());
  }
  publish(environment, place, patience);
  std::vector<std::optional<RankLink>> links(static_cast<std::size_t>(environment.size - 1));
  const auto deadline = Clock::now() + patience;
  for (int missing = environment.size - 1; missing > 0;) {
    check_interrupted();
    if (Clock::now() > deadline) fail_missing(links, patience);
    pollfd look{listener.descriptor, POLLIN, 0};
    if (::poll(&look, 1, static_cast<int>(std::chrono::milliseconds(kRetry).count())) <= 0) continue;
    Socket accepted{::accept(listener.descriptor, nullptr, nullptr)};
    if (accepted.descriptor < 0) continue;
    RankLink visitor(accepted.take(), -1, kHelloPatience);
    const std::optional<int> rank = greeted_by(visitor, environment, place.token);
    if (!rank) continue;
    auto& link = links[static_cast<std::size_t>(*rank - 1)];
    if (link) fail(ErrorKind::mismatch, "two processes say that they are rank ", *rank, " (RANK)");
    link.emplace(std::move(visitor)).belongs_to(*rank, patience);
    --missing;
  }
  std::vector<RankLink> all;
  for (auto& link : links) {
    link->send(MessageKind::hello, 0, "");
    all.push_back(std::move(*link));
  }
  return all;
}

RankLink visit_first(const RankEnvironment& environment, std::chrono::seconds patience) {
  const auto deadline = Clock::now() + patience;
  const MeetingPlace place = look_up(environment, deadline, patience);
  Socket connected{try_connect(meeting_host(environment), place.port)};
  while (connected.descriptor < 0) {
    check_interrupted();
    if (Clock::now() > deadline) fail_alone(patience);
    std::this_thread::sleep_for(kRetry);
    connected.descriptor = try_connect(meeting_host(environment), place.port);
  }
  RankLink link(connected.take(), 0, patience);
  link.send(MessageKind::hello, 0, greeting(environment, place.token) + std::to_string(environment.rank));
  link.receive_text(MessageKind::hello, 0);
  return link;
}

}  // namespace

std::vector<RankLink> meet(const RankEnvironment& environment, std::chrono::seconds patience) {
  if (environment.rank == 0) return receive_all(environment, patience);
  std::vector<RankLink> links;
  links.push_back(visit_first(environment, patience));
  return links;
}

}  // namespace streamline
