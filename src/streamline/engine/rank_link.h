// SPDX-License-Identifier: Apache-2.0
// A connection between two ranks: messages over TCP, noticed dead when the other process or its machine is.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace streamline {

// What a message is; `failed` carries an ErrorKind and the line that says what went wrong.
enum class MessageKind : std::uint32_t { hello = 1, sum, gather, broadcast, failed, done };

struct RankFailure {
  bool interrupted = false;  // by a signal, which all ranks may have got
  std::string what;          // one line; empty where the peer went without a word
};

// Owns a connected socket. Whatever waits ends with Error: interrupted as check_interrupted() has it; io, naming the
// peer, when that has gone, has said that it failed, or is silent for longer than the patience; internal when the two
// ranks are not at the same point of the same work.
class RankLink {
 public:
  RankLink(int socket, int peer, std::chrono::seconds patience);
  ~RankLink();
  RankLink(RankLink&& other) noexcept;
  RankLink& operator=(RankLink&&) = delete;

  int socket() const { return socket_; }
  int peer() const { return peer_; }
  void belongs_to(int peer, std::chrono::seconds patience) { peer_ = peer, patience_ = patience; }

  // `turn` counts what the two do together.
  void send(MessageKind kind, std::uint64_t turn, std::string_view bytes);
  // Bytes of the next message, which receive_bytes() then reads.
  std::uint64_t receive(MessageKind kind, std::uint64_t turn);
  void receive_bytes(char* bytes, std::size_t count);
  std::string receive_text(MessageKind kind, std::uint64_t turn);
  void await();  // the next message, however long the peer works before it

  // The last word of this side, then nothing more; for as long as a second, and silent about errors.
  void send_last(MessageKind kind, std::string_view bytes) noexcept;
  // Reads until the peer closes or says that it failed, for so long at most; returns failure().
  const std::optional<RankFailure>& drain(std::chrono::milliseconds patience) noexcept;
  // What went wrong on the other side, where a call above came upon it.
  const std::optional<RankFailure>& failure() const { return failure_; }

 private:
  using Clock = std::chrono::steady_clock;
  bool wait(short events, Clock::time_point deadline, bool interruptible);  // false: not until then
  void write(std::string_view bytes, bool interruptible);
  bool read(char* bytes, std::size_t count, Clock::time_point deadline, bool interruptible);  // false: not until then
  [[noreturn]] void fail_gone();
  [[noreturn]] void fail_for_peer() const;
  [[noreturn]] void fail_silent() const;

  int socket_ = -1, peer_ = 0;
  std::chrono::seconds patience_;
  bool in_message_ = false;  // what comes next is not a header
  std::optional<RankFailure> failure_ = {};
};

// The line for a peer that went without a word.
std::string gone_message(int peer);

}  // namespace streamline
