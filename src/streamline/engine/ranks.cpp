// SPDX-License-Identifier: Apache-2.0
// A star: everything goes through the first rank, which adds in the order of the ranks.
#include "streamline/engine/ranks.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/parse_number.h"
#include "streamline/engine/rank_link.h"
#include "streamline/engine/rank_meeting.h"

namespace streamline {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kPiece = 1 << 16;  // numbers added at once
constexpr auto kLastWord = 2s;           // that the others get to read why all ends
constexpr auto kSaid = 200ms;            // within which a rank that failed first has said so
constexpr auto kPrinted = 10s;           // for the first rank to print another's line

std::string failure_text(bool interrupted, const std::string& message) {
  return static_cast<char>(interrupted ? ErrorKind::interrupted : ErrorKind::io) + message;
}

std::string rank_prefix(int rank) { return "rank " + std::to_string(rank) + ": "; }

}  // namespace

class Ranks::Group {
 public:
  Group(const RankEnvironment& environment, std::chrono::seconds patience)
      : environment_(environment), links_(meet(environment, patience)) {}
  ~Group() {
    stop_watching();
    if (stop_ >= 0) ::close(stop_);
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  const RankEnvironment& environment() const { return environment_; }

  template <class Number>
  void sum(std::span<Number> values) {
    ++turn_;
    char* bytes = reinterpret_cast<char*>(values.data());
    const std::string_view all{bytes, values.size_bytes()};
    if (environment_.rank > 0) {
      RankLink& first = links_.front();
      first.send(MessageKind::sum, turn_, all);
      expect(first, first.receive(MessageKind::sum, turn_), all.size());
      first.receive_bytes(bytes, all.size());
      return;
    }
    std::vector<Number> piece(std::min(kPiece, values.size()));
    for (RankLink& link : links_) {
      expect(link, link.receive(MessageKind::sum, turn_), all.size());
      for (std::size_t at = 0; at < values.size(); at += piece.size()) {
        const std::size_t count = std::min(piece.size(), values.size() - at);
        link.receive_bytes(reinterpret_cast<char*>(piece.data()), count * sizeof(Number));
        for (std::size_t i = 0; i < count; ++i) values[at + i] += piece[i];
      }
      if (values.empty()) link.receive_bytes(nullptr, 0);
    }
    for (RankLink& link : links_) link.send(MessageKind::sum, turn_, all);
  }

  std::vector<std::string> gather(std::string_view mine) {
    ++turn_;
    std::vector<std::string> all(static_cast<std::size_t>(environment_.size));
    all[static_cast<std::size_t>(environment_.rank)] = mine;
    if (environment_.rank > 0) {
      links_.front().send(MessageKind::gather, turn_, mine);
      for (std::string& text : all) text = links_.front().receive_text(MessageKind::gather, turn_);
      return all;
    }
    for (RankLink& link : links_)
      all[static_cast<std::size_t>(link.peer())] = link.receive_text(MessageKind::gather, turn_);
    for (RankLink& link : links_)
      for (const std::string& text : all) link.send(MessageKind::gather, turn_, text);
    return all;
  }

  // In place, of a length that all know.
  void broadcast(std::span<char> bytes) {
    ++turn_;
    if (environment_.rank == 0) {
      for (RankLink& link : links_) link.send(MessageKind::broadcast, turn_, {bytes.data(), bytes.size()});
      return;
    }
    RankLink& first = links_.front();
    expect(first, first.receive(MessageKind::broadcast, turn_), bytes.size());
    first.receive_bytes(bytes.data(), bytes.size());
  }

  std::string broadcast_text(std::string_view mine) {
    ++turn_;
    if (environment_.rank > 0) return links_.front().receive_text(MessageKind::broadcast, turn_);
    for (RankLink& link : links_) link.send(MessageKind::broadcast, turn_, mine);
    return std::string(mine);
  }

  int finish(int status) {
    stop_watching();
    ++turn_;
    if (environment_.rank > 0) {
      RankLink& first = links_.front();
      first.send(MessageKind::done, turn_, "");
      first.await();
      const std::string said = first.receive_text(MessageKind::done, 0);
      links_.clear();  // the first waits for that
      return parse_number<int>(said).value_or(1);
    }
    for (RankLink& link : links_) link.receive_text(MessageKind::done, turn_);
    for (RankLink& link : links_) link.send_last(MessageKind::done, std::to_string(status));
    drain_all(kLastWord);
    return status;
  }

  std::string fail_together(bool interrupted, const std::string& message) noexcept {
    stop_watching();
    return environment_.rank == 0 ? fail_first(interrupted, message) : fail_other(interrupted, message);
  }

  void watch() {
    stop_ = ::eventfd(0, EFD_CLOEXEC);
    if (stop_ < 0) return;
    watcher_ = std::thread([this] {
      std::vector<pollfd> looks = {{stop_, POLLIN, 0}};
      for (const RankLink& link : links_) looks.push_back({link.socket(), POLLRDHUP, 0});
      while (::poll(looks.data(), looks.size(), -1) <= 0) continue;
      if (looks.front().revents == 0) end_work();
    });
  }

 private:
  static void expect(const RankLink& link, std::uint64_t bytes, std::size_t expected) {
    if (bytes != expected)
      fail(ErrorKind::internal, "rank ", link.peer(), " has ", bytes, " bytes where this rank has ", expected,
           "; start all ranks with the same words and files");
  }

  void stop_watching() noexcept {
    if (!watcher_.joinable()) return;
    const std::uint64_t one = 1;
    if (::write(stop_, &one, sizeof one) == sizeof one) watcher_.join();
  }

  // For so long together.
  void drain_all(std::chrono::milliseconds patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (RankLink& link : links_) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      link.drain(std::max(left, std::chrono::milliseconds(0)));
    }
  }

  // What another rank says went wrong, rather than that this one was interrupted for it.
  std::string fail_first(bool interrupted, const std::string& message) {
    std::string line = message;
    drain_all(interrupted ? kSaid : 0ms);
    for (const RankLink& link : links_) {
      const auto& failure = link.failure();
      if (!interrupted || !failure || failure->interrupted) continue;
      line = failure->what.empty() ? gone_message(link.peer()) : rank_prefix(link.peer()) + failure->what;
      interrupted = false;
    }
    for (RankLink& link : links_) link.send_last(MessageKind::failed, failure_text(interrupted, line));
    drain_all(kLastWord);
    return line;
  }

  std::string fail_other(bool interrupted, const std::string& message) {
    RankLink& first = links_.front();
    auto failure = first.drain(interrupted ? kSaid : 0ms);
    if (!failure) {
      first.send_last(MessageKind::failed, failure_text(interrupted, message));
      failure = first.drain(kPrinted);
      if (!failure || failure->what.empty()) return rank_prefix(environment_.rank) + message;
    }
    if (!failure->what.empty()) return "";                 // the first rank has printed it
    return environment_.rank == 1 ? gone_message(0) : "";  // one line is enough
  }

  RankEnvironment environment_;
  std::vector<RankLink> links_;
  std::uint64_t turn_ = 0;
  std::thread watcher_ = {};
  int stop_ = -1;
};

Ranks::Ranks() = default;

Ranks Ranks::join(const RankEnvironment& environment, std::chrono::seconds patience) {
  Ranks ranks;
  if (!environment.alone()) ranks.group_ = std::make_shared<Group>(environment, patience);
  return ranks;
}

int Ranks::rank() const { return group_ ? group_->environment().rank : 0; }
int Ranks::size() const { return group_ ? group_->environment().size : 1; }
int Ranks::local_rank() const { return group_ ? group_->environment().local_rank : 0; }
int Ranks::local_size() const { return group_ ? group_->environment().local_size : 1; }

void Ranks::watch() const {
  if (group_) group_->watch();
}

void Ranks::sum(std::span<double> values) const {
  if (group_) group_->sum(values);
}
void Ranks::sum(std::span<float> values) const {
  if (group_) group_->sum(values);
}

double Ranks::sum(double value) const {
  sum(std::span(&value, 1));
  return value;
}

void Ranks::sum(const std::vector<torch::Tensor>& tensors) const {
  if (!group_) return;
  const torch::NoGradGuard no_grad;
  for (const torch::Tensor& tensor : tensors) {
    const torch::Tensor host = tensor.detach().to(torch::kCPU).contiguous();
    const auto count = static_cast<std::size_t>(host.numel());
    if (host.scalar_type() == torch::kFloat64)
      group_->sum(std::span(host.data_ptr<double>(), count));
    else
      group_->sum(std::span(host.data_ptr<float>(), count));
    if (!host.is_alias_of(tensor)) tensor.copy_(host);
  }
}

void Ranks::broadcast(const std::vector<torch::Tensor>& tensors) const {
  if (!group_) return;
  const torch::NoGradGuard no_grad;
  for (const torch::Tensor& tensor : tensors) {
    const torch::Tensor host = tensor.detach().to(torch::kCPU).contiguous();
    group_->broadcast(std::span(static_cast<char*>(host.data_ptr()), host.nbytes()));
    if (!host.is_alias_of(tensor)) tensor.copy_(host);
  }
}

std::vector<std::string> Ranks::gather(std::string_view mine) const {
  return group_ ? group_->gather(mine) : std::vector<std::string>{std::string(mine)};
}

std::vector<double> Ranks::concatenate(std::span<const double> mine) const {
  std::vector<double> all;
  for (const std::string& bytes : gather({reinterpret_cast<const char*>(mine.data()), mine.size_bytes()})) {
    const std::size_t before = all.size();
    all.resize(before + bytes.size() / sizeof(double));
    std::memcpy(all.data() + before, bytes.data(), bytes.size());
  }
  return all;
}

std::string Ranks::broadcast(std::string_view mine) const {
  return group_ ? group_->broadcast_text(mine) : std::string(mine);
}

int Ranks::finish(int status) const { return group_ ? group_->finish(status) : status; }

std::string Ranks::fail_together(bool interrupted, const std::string& message) const noexcept {
  return group_ ? group_->fail_together(interrupted, message) : message;
}

}  // namespace streamline
