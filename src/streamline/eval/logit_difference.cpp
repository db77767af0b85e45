// SPDX-License-Identifier: Apache-2.0
// Two passes over the head: the reference's normalisers, which its probabilities need; then both logits side by side.
#include "streamline/eval/logit_difference.h"

#include <algorithm>
#include <functional>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::int64_t kLogitsAPiece = std::int64_t{1} << 23;  // alive at once: 32 MB of float32
constexpr std::int64_t kLeastPiece = 1024;

// Calls visit(logits) with the float32 logits of `input`, [rows, piece], of one piece of the vocabulary after another.
void for_each_piece(const Model& model, const torch::Tensor& input,
                    const std::function<void(const torch::Tensor& logits)>& visit) {
  const std::int64_t vocab = model.config().vocab;
  const std::int64_t piece = std::max(kLeastPiece, kLogitsAPiece / std::max<std::int64_t>(input.size(0), 1));
  for (std::int64_t first = 0; first < vocab; first += piece)
    visit(model.head_logits(input, first, std::min(piece, vocab - first)).to(torch::kFloat32));
}

// log of the sum of e^x over all pieces seen, [rows] in double.
class Normaliser {
 public:
  void add(const torch::Tensor& logits) {
    const torch::Tensor more = logits.to(torch::kDouble).logsumexp(-1);
    sum_ = sum_.defined() ? torch::logaddexp(sum_, more) : more;
  }
  const torch::Tensor& value() const { return sum_; }

 private:
  torch::Tensor sum_;
};

void add_to(torch::Tensor& sum, const torch::Tensor& more) { sum = sum.defined() ? sum.add_(more) : more; }

}  // namespace

std::vector<LogitDifference> logit_differences(const Model& model, const torch::Tensor& reference,
                                               const torch::Tensor& hidden) {
  const torch::NoGradGuard no_gradients;
  const std::int64_t rows = reference.size(0), copies = hidden.size(0) / std::max<std::int64_t>(rows, 1);
  SL_ASSERT(hidden.size(0) == copies * rows);
  const torch::Tensor a_input = model.head_input(reference), b_input = model.head_input(hidden);
  Normaliser a_sum;
  for_each_piece(model, a_input, [&](const torch::Tensor& logits) { a_sum.add(logits); });
  Normaliser b_sum;
  torch::Tensor squares, weighted;  // of a - b, by p(a)
  // Together, so that equal rows give equal logits whatever the product's shape.
  for_each_piece(model, torch::cat({a_input, b_input}), [&](const torch::Tensor& logits) {
    const torch::Tensor a = logits.narrow(0, 0, rows), b = logits.narrow(0, rows, copies * rows);
    b_sum.add(b);
    const torch::Tensor p = (a - a_sum.value().unsqueeze(-1)).exp();  // [rows, piece], double
    const torch::Tensor apart = (a - b.view({copies, rows, -1})).to(torch::kDouble);
    add_to(squares, apart.square().sum(-1));
    add_to(weighted, (p * apart).sum(-1));
  });
  const torch::Tensor kl = weighted - a_sum.value() + b_sum.value().view({copies, rows});
  const torch::Tensor l2 = squares.sqrt().to(torch::kCPU).contiguous();
  const torch::Tensor divergence = torch::maximum(kl, torch::zeros_like(kl)).to(torch::kCPU).contiguous();
  std::vector<LogitDifference> result;
  for (std::int64_t i = 0; i < copies * rows; ++i)
    result.push_back({l2.const_data_ptr<double>()[i], divergence.const_data_ptr<double>()[i]});
  return result;
}

}  // namespace streamline
