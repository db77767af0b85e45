// SPDX-License-Identifier: Apache-2.0
// Prints the token ids of a text, for comparison with other implementations:
//   streamline_encode TOKENIZER_DIR TEXT_FILE [--special] [--decode] [--time]
// Ids go to stdout, one a line; with --decode, the text of the ids that TEXT_FILE lists instead; with --time, seconds.
#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <set>
#include <sstream>
#include <string>

#include "streamline/base/file.h"
#include "streamline/text/tokenizer.h"

namespace {

using namespace streamline;

void print_text(const Tokenizer& tokenizer, const std::string& list) {
  std::istringstream lines(list);
  std::vector<TokenId> ids;
  for (TokenId id; lines >> id;) ids.push_back(id);
  std::cout << tokenizer.decode(ids, false);
}

void print_ids(const Tokenizer& tokenizer, const std::string& text, bool special) {
  std::string out;
  for (const TokenId id : tokenizer.encode(text, special)) out += std::to_string(id) + "\n";
  std::cout << out;
}

// Opening, the first pass (which fills the cache of words) and the fastest of five more.
void print_times(const std::filesystem::path& directory, const std::string& text) {
  const auto seconds = [](auto&& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::unique_ptr<Tokenizer> tokenizer;
  const double open = seconds([&] { tokenizer = open_tokenizer(*open_directory(directory)); });
  std::size_t tokens = 0;
  const auto encode = [&] { tokens = tokenizer->encode(text, false).size(); };
  const double first = seconds(encode);
  double best = first;
  for (int i = 0; i < 5; ++i) best = std::min(best, seconds(encode));
  std::printf("open %.3f s, first %.3f s, best %.3f s, %.1f MB/s, %zu tokens\n", open, first, best,
              static_cast<double>(text.size()) / best / 1e6, tokens);
}

}  // namespace

int main(int count, char** arguments) {
  const std::set<std::string> flags(arguments + std::min(count, 3), arguments + count);
  if (count < 3) {
    std::cerr << "usage: streamline_encode TOKENIZER_DIR TEXT_FILE [--special] [--decode] [--time]\n";
    return 2;
  }
  try {
    const std::string text = read_text(arguments[2]);
    if (flags.contains("--time")) {
      print_times(arguments[1], text);
      return 0;
    }
    const auto tokenizer = open_tokenizer(*open_directory(arguments[1]));
    if (flags.contains("--decode")) {
      print_text(*tokenizer, text);
    } else {
      print_ids(*tokenizer, text, flags.contains("--special"));
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
