// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/rank_link.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "streamline/base/error.h"
#include "streamline/base/log.h"

namespace streamline {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kMessageMagic = 0x4b4e4c53;
constexpr auto kGlance = 200ms;                     // between two looks at whether this process was interrupted
constexpr std::uint64_t kMostText = 1'000'000'000;  // bytes
constexpr int kIdleSeconds = 20, kProbes = 6, kProbeSeconds = 10;  // until a machine that says nothing counts as dead

struct MessageHeader {
  std::uint32_t magic = kMessageMagic;
  std::uint32_t kind = 0;
  std::uint64_t turn = 0, bytes = 0;
};

void set_option(int socket, int level, int name, int value) {
  ::setsockopt(socket, level, name, &value, sizeof value);  // what the kernel refuses only costs speed or patience
}

RankFailure failure_of(std::string_view text) {
  const bool interrupted = !text.empty() && text.front() == static_cast<char>(ErrorKind::interrupted);
  return {interrupted, std::string(text.substr(std::min<std::size_t>(1, text.size())))};
}

}  // namespace

std::string gone_message(int peer) {
  return "rank " + std::to_string(peer) +
         " ended before the work was done (killed, or out of memory); nothing was written, start all ranks again";
}

RankLink::RankLink(int socket, int peer, std::chrono::seconds patience)
    : socket_(socket), peer_(peer), patience_(patience) {
  ::fcntl(socket_, F_SETFL, ::fcntl(socket_, F_GETFL) | O_NONBLOCK);
  set_option(socket_, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket_, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket_, IPPROTO_TCP, TCP_KEEPIDLE, kIdleSeconds);
  set_option(socket_, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  set_option(socket_, IPPROTO_TCP, TCP_KEEPINTVL, kProbeSeconds);
  set_option(socket_, IPPROTO_TCP, TCP_USER_TIMEOUT, (kIdleSeconds + kProbes * kProbeSeconds) * 1000);
}

RankLink::~RankLink() {
  if (socket_ >= 0) ::close(socket_);
}

RankLink::RankLink(RankLink&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)),
      peer_(other.peer_),
      patience_(other.patience_),
      in_message_(other.in_message_),
      failure_(std::move(other.failure_)) {}

bool RankLink::wait(short events, Clock::time_point deadline, bool interruptible) {
  while (true) {
    if (interruptible) check_interrupted();
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left <= 0ms) return false;
    pollfd look{socket_, events, 0};
    if (::poll(&look, 1, static_cast<int>(std::min<std::chrono::milliseconds>(left, kGlance).count())) > 0) return true;
  }
}

void RankLink::write(std::string_view bytes, bool interruptible) {
  const auto patience = interruptible ? Clock::duration(patience_) : Clock::duration(1s);
  auto deadline = Clock::now() + patience;
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
      deadline = Clock::now() + patience;
    } else if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (!wait(POLLOUT, deadline, interruptible)) fail_silent();
    } else {  // closed; what the peer said before that may still be there
      if (interruptible) drain(1s);
      if (failure_ && !failure_->what.empty()) fail_for_peer();
      fail_gone();
    }
  }
}

bool RankLink::read(char* bytes, std::size_t count, Clock::time_point deadline, bool interruptible) {
  while (count > 0) {
    const ssize_t got = ::recv(socket_, bytes, count, 0);
    if (got > 0) {
      in_message_ = true;
      bytes += got;
      count -= static_cast<std::size_t>(got);
      if (interruptible) deadline = Clock::now() + patience_;
    } else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (!wait(POLLIN, deadline, interruptible)) return false;
    } else {
      fail_gone();
    }
  }
  return true;
}

void RankLink::fail_gone() {
  if (!failure_) failure_ = RankFailure{};
  fail(ErrorKind::io, gone_message(peer_));
}

void RankLink::fail_for_peer() const {
  fail(failure_->interrupted ? ErrorKind::interrupted : ErrorKind::io, "rank ", peer_, ": ", failure_->what);
}

void RankLink::fail_silent() const {
  fail(ErrorKind::io, "rank ", peer_, " has said nothing for ", patience_.count(),
       " s; look whether it hangs, or give it longer with STREAMLINE_RANK_TIMEOUT (seconds)");
}

void RankLink::send(MessageKind kind, std::uint64_t turn, std::string_view bytes) {
  const MessageHeader header{.kind = static_cast<std::uint32_t>(kind), .turn = turn, .bytes = bytes.size()};
  write({reinterpret_cast<const char*>(&header), sizeof header}, true);
  write(bytes, true);
}

void RankLink::await() {
  while (!wait(POLLIN, Clock::now() + patience_, true)) continue;
}

std::uint64_t RankLink::receive(MessageKind kind, std::uint64_t turn) {
  MessageHeader header;
  if (!read(reinterpret_cast<char*>(&header), sizeof header, Clock::now() + patience_, true)) fail_silent();
  if (header.magic == kMessageMagic && header.kind == static_cast<std::uint32_t>(MessageKind::failed) &&
      header.bytes <= kMostText) {
    std::string text(header.bytes, '\0');
    receive_bytes(text.data(), text.size());
    failure_ = failure_of(text);
    fail_for_peer();
  }
  if (header.magic != kMessageMagic || header.kind != static_cast<std::uint32_t>(kind) || header.turn != turn)
    fail(ErrorKind::internal, "rank ", peer_, " does other work than this rank (message ", header.kind, " of turn ",
         header.turn, ", expected ", static_cast<std::uint32_t>(kind), " of turn ", turn,
         "); start all ranks with the same words and files");
  return header.bytes;
}

void RankLink::receive_bytes(char* bytes, std::size_t count) {
  if (!read(bytes, count, Clock::now() + patience_, true)) fail_silent();
  in_message_ = false;
}

std::string RankLink::receive_text(MessageKind kind, std::uint64_t turn) {
  const std::uint64_t bytes = receive(kind, turn);
  if (bytes > kMostText) fail(ErrorKind::internal, "rank ", peer_, " sends a text of ", bytes, " bytes");
  std::string text(bytes, '\0');
  receive_bytes(text.data(), text.size());
  return text;
}

void RankLink::send_last(MessageKind kind, std::string_view bytes) noexcept {
  try {
    const MessageHeader header{.kind = static_cast<std::uint32_t>(kind), .turn = 0, .bytes = bytes.size()};
    write({reinterpret_cast<const char*>(&header), sizeof header}, false);
    write(bytes, false);
  } catch (...) {  // a peer that is gone needs no last word
  }
  ::shutdown(socket_, SHUT_WR);
}

const std::optional<RankFailure>& RankLink::drain(std::chrono::milliseconds patience) noexcept {
  if (failure_) return failure_;
  const auto deadline = Clock::now() + patience;
  try {
    std::array<char, 65536> rest{};
    while (in_message_)  // of which the end is not known any more
      if (!read(rest.data(), 1, deadline, false)) return failure_;
    while (true) {
      MessageHeader header;
      if (!read(reinterpret_cast<char*>(&header), sizeof header, deadline, false)) return failure_;
      const bool failed = header.kind == static_cast<std::uint32_t>(MessageKind::failed);
      std::string text;
      const auto whole = std::max(deadline, Clock::now() + 1s);  // the rest is on its way
      for (std::uint64_t left = header.bytes; left > 0;) {
        const std::size_t piece = std::min<std::uint64_t>(left, rest.size());
        if (!read(rest.data(), piece, whole, false)) return failure_;
        if (failed && text.size() < kMostText) text.append(rest.data(), piece);
        left -= piece;
      }
      in_message_ = false;
      if (!failed) continue;
      failure_ = failure_of(text);
      return failure_;
    }
  } catch (...) {  // closed
    return failure_;
  }
}

}  // namespace streamline
