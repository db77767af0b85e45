// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/added_tokens.h"

#include <algorithm>

#include "streamline/text/unicode.h"

namespace streamline {
namespace {

bool word_before(std::string_view text, std::size_t position) {
  return position > 0 && is_word(last_code_point(text.substr(0, position)).value);
}

bool word_after(std::string_view text, std::size_t position) {
  return position < text.size() && is_word(code_point_at(text, position).value);
}

std::size_t skip_space_back(std::string_view text, std::size_t position, std::size_t floor) {
  while (position > floor) {
    const CodePoint c = last_code_point(text.substr(0, position));
    if (!is_white_space(c.value)) break;
    position -= c.size;
  }
  return std::max(position, floor);
}

std::size_t skip_space(std::string_view text, std::size_t position) {
  while (position < text.size()) {
    const CodePoint c = code_point_at(text, position);
    if (!is_white_space(c.value)) break;
    position += c.size;
  }
  return position;
}

}  // namespace

void AddedTokenFinder::add(const AddedToken& token, std::string_view spelling) {
  if (spelling.empty()) return;
  std::int32_t node = 0;
  for (const char c : spelling) {
    const auto byte = static_cast<unsigned char>(c);
    std::int32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<std::int32_t>(nodes_.size());
      nodes_.emplace_back();
      nodes_[node].children.emplace_back(byte, next);
      if (node == 0) first_[byte] = next;
    }
    node = next;
  }
  if (nodes_[node].token < 0) {
    nodes_[node].token = static_cast<std::int32_t>(tokens_.size());
    tokens_.push_back(token);
  }
}

std::int32_t AddedTokenFinder::child(std::int32_t node, unsigned char byte) const {
  if (node == 0) return first_[byte];
  for (const auto& [label, next] : nodes_[node].children)
    if (label == byte) return next;
  return 0;
}

std::int32_t AddedTokenFinder::longest_at(std::string_view text, std::size_t position, std::size_t& end) const {
  std::int32_t node = 0, found = -1;
  for (std::size_t i = position; i < text.size(); ++i) {
    node = child(node, static_cast<unsigned char>(text[i]));
    if (node == 0) break;
    if (nodes_[node].token >= 0) {
      found = nodes_[node].token;
      end = i + 1;
    }
  }
  return found;
}

void AddedTokenFinder::split(const Piece& piece, std::vector<Piece>& out) const {
  const std::string_view text = piece.text;
  std::size_t done = 0;
  const auto emit = [&](std::size_t begin, std::size_t end, TokenId id) {
    out.push_back({text.substr(begin, end - begin), id, piece.at_text_start && begin == 0});
  };
  for (std::size_t position = 0; position < text.size();) {
    std::size_t end = position + 1;
    const bool possible = first_[static_cast<unsigned char>(text[position])] != 0;
    const std::int32_t found = possible ? longest_at(text, position, end) : -1;
    if (found < 0) {
      ++position;
      continue;
    }
    const AddedToken& token = tokens_[found];
    const std::size_t begin = position;
    position = end;
    if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
    const std::size_t from = token.lstrip ? skip_space_back(text, begin, done) : begin;
    const std::size_t to = token.rstrip ? skip_space(text, end) : end;
    if (done < from) emit(done, from, -1);
    emit(from, to, token.id);
    done = to;
  }
  if (done < text.size()) emit(done, text.size(), -1);
}

}  // namespace streamline
