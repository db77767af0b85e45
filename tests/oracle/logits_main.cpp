// SPDX-License-Identifier: Apache-2.0
// Logits of given token ids, for the reference libraries to agree with:  streamline_logits MODEL IDS OUT
// IDS: one sequence a line, ids parted by spaces, all of one length. OUT: float32 [batch, seq, vocab], no header.
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/error.h"
#include "streamline/engine/model.h"

namespace streamline {
namespace {

torch::Tensor read_ids(const std::string& path) {
  std::vector<torch::Tensor> sequences;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    const std::vector<std::int64_t> ids(std::istream_iterator<std::int64_t>(words), {});
    sequences.push_back(torch::tensor(ids));
  }
  return torch::stack(sequences);  // [batch, seq]
}

void write_logits(const std::string& path, const std::string& ids, const std::string& out) {
  const torch::NoGradGuard no_grad;
  const Model model = Model::open(open_checkpoint(path), Placement{});
  const torch::Tensor logits = forward_logits(model, read_ids(ids)).to(torch::kFloat32).contiguous();
  std::ofstream file(out, std::ios::binary);
  file.write(static_cast<const char*>(logits.data_ptr()), static_cast<std::streamsize>(logits.nbytes()));
}

}  // namespace
}  // namespace streamline

int main(int count, char** arguments) {
  if (count != 4) return 2;
  try {
    streamline::write_logits(arguments[1], arguments[2], arguments[3]);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "streamline_logits: " << error.what() << "\n";
    return 1;
  }
}
