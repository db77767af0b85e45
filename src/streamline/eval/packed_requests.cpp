// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/packed_requests.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "streamline/base/error.h"

namespace streamline {
namespace {

using Sequence = LikelihoodRequest::Sequence;

std::span<const TokenId> input(const Sequence& sequence) {
  return {sequence.tokens.data(), sequence.tokens.size() - 1};
}

// Lays sequences down in lexicographic order, in which those that begin alike are neighbours.
class Packer {
 public:
  Packer(std::span<const Sequence* const> sequences, bool share)
      : sequences_(sequences), least_(share ? kLeastShared : std::numeric_limits<std::size_t>::max()) {
    order_.resize(sequences.size());
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    if (share)
      std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
        return std::ranges::lexicographical_compare(input(*sequences[a]), input(*sequences[b]));
      });
    ends_.resize(sequences.size(), -1);
  }

  PackedRequests run() {
    lay_down(0, order_.size(), 0, -1);
    predict();
    compress_rows();
    return std::move(result_);
  }

 private:
  const Sequence& at(std::size_t place) const { return *sequences_[order_[place]]; }

  std::size_t common(std::size_t place) const { return common_beginning(input(at(place)), input(at(place + 1))); }

  // Places first … last-1 of the order, whose sequences share their first `depth` tokens, behind the piece `parent`.
  void lay_down(std::size_t first, std::size_t last, std::size_t depth, std::int64_t parent) {
    while (first < last) {
      std::size_t end = first + 1, shared = input(at(first)).size();
      for (; end < last; ++end) {
        const std::size_t alike = common(end - 1);
        if (alike < depth || alike - depth < least_) break;
        shared = std::min(shared, alike);
      }
      const std::int64_t piece = add_piece(at(first), depth, shared, parent);
      if (end == first + 1)
        ends_[order_[first]] = piece;
      else
        finish_or_go_on(first, end, shared, piece);
      first = end;
    }
  }

  // Sequences that end with the piece come first in the order; the others go on behind it.
  void finish_or_go_on(std::size_t first, std::size_t last, std::size_t depth, std::int64_t piece) {
    for (; first < last && input(at(first)).size() == depth; ++first) ends_[order_[first]] = piece;
    lay_down(first, last, depth, piece);
  }

  // Tokens depth … end-1 of the sequence; the parent itself when there are none.
  std::int64_t add_piece(const Sequence& sequence, std::size_t depth, std::size_t end, std::int64_t parent) {
    if (end == depth) return parent;
    result_.packing.pieces.push_back({.first = result_.packing.rows(),
                                      .count = static_cast<std::int64_t>(end - depth),
                                      .parent = parent,
                                      .position = static_cast<std::int64_t>(depth)});
    result_.ids.insert(result_.ids.end(), sequence.tokens.begin() + static_cast<std::ptrdiff_t>(depth),
                       sequence.tokens.begin() + static_cast<std::ptrdiff_t>(end));
    return std::ssize(result_.packing.pieces) - 1;
  }

  // Targets: the tokens of every piece from where the first of its sequences wants them, then each sequence's last.
  void predict() {
    const auto& pieces = result_.packing.pieces;
    constexpr auto kNever = std::numeric_limits<std::int64_t>::max();
    std::vector<std::int64_t> wanted_from(pieces.size(), kNever);
    for (std::size_t i = 0; i < sequences_.size(); ++i)
      for (const std::int64_t piece : lineage(result_.packing, ends_[i])) {
        std::int64_t& from = wanted_from[static_cast<std::size_t>(piece)];
        from = std::min(from, static_cast<std::int64_t>(sequences_[i]->scored_from));
      }
    std::vector<std::size_t> first_target(pieces.size());
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const PackedPiece& piece = pieces[i];
      wanted_from[i] = std::max(wanted_from[i], piece.position);
      first_target[i] = result_.targets.size();
      for (std::int64_t at = wanted_from[i]; at < piece.position + piece.count; ++at) {
        const std::int64_t row = piece.first + at - piece.position;
        result_.targets.push_back({at > piece.position ? row - 1 : last_row(piece.parent), id(row)});
      }
    }
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      std::vector<PackedRequests::Range> ranges;
      const auto from = static_cast<std::int64_t>(sequences_[i]->scored_from);
      for (const std::int64_t index : lineage(result_.packing, ends_[i])) {
        const auto place = static_cast<std::size_t>(index);
        const std::int64_t end = pieces[place].position + pieces[place].count,
                           begin = std::max(from, wanted_from[place]);
        if (begin >= end) continue;
        const std::size_t first = first_target[place] + static_cast<std::size_t>(begin - wanted_from[place]);
        ranges.emplace_back(first, first + static_cast<std::size_t>(end - begin));
      }
      ranges.emplace_back(result_.targets.size(), result_.targets.size() + 1);
      result_.targets.push_back({last_row(ends_[i]), sequences_[i]->tokens.back()});
      result_.scored.push_back(std::move(ranges));
    }
  }

  std::int64_t last_row(std::int64_t piece) const {
    const PackedPiece& found = result_.packing.pieces[static_cast<std::size_t>(piece)];
    return found.first + found.count - 1;
  }
  TokenId id(std::int64_t row) const { return result_.ids[static_cast<std::size_t>(row)]; }

  void compress_rows() {
    for (const TokenTarget& target : result_.targets) result_.head_rows.push_back(target.row);
    std::ranges::sort(result_.head_rows);
    const auto rest = std::ranges::unique(result_.head_rows);
    result_.head_rows.erase(rest.begin(), rest.end());
    for (TokenTarget& target : result_.targets)
      target.row = std::ranges::lower_bound(result_.head_rows, target.row) - result_.head_rows.begin();
  }

  std::span<const Sequence* const> sequences_;
  std::size_t least_;
  std::vector<std::size_t> order_;  // of the sequences
  std::vector<std::int64_t> ends_;  // by sequence: the piece that ends it
  PackedRequests result_;
};

}  // namespace

std::size_t common_beginning(std::span<const TokenId> a, std::span<const TokenId> b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

PackedRequests pack(std::span<const Sequence* const> sequences, bool share) {
  for (const Sequence* sequence : sequences)
    SL_ASSERT(sequence->tokens.size() >= 2 && sequence->scored_from >= 1 &&
              sequence->scored_from < sequence->tokens.size());
  return Packer(sequences, share).run();
}

}  // namespace streamline
