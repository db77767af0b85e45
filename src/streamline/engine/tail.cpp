// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/tail.h"

#include <algorithm>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::int64_t kBlockLogits = std::int64_t{1} << 23;  // of one block, 32 MB in fp32

// Rows of hidden states whose logits are held at once.
std::int64_t block_rows(std::int64_t vocabulary) {
  return std::max<std::int64_t>(1, kBlockLogits / std::max<std::int64_t>(1, vocabulary));
}

torch::Tensor log_softmax_of(const torch::Tensor& logits) {
  return torch::log_softmax(logits.to(at::promote_types(logits.scalar_type(), torch::kFloat32)), -1);
}

// log(1 - sum exp(log_shares)) without cancellation to -infinity, [tokens, 1].
torch::Tensor log_rest(const torch::Tensor& log_shares) {
  const auto taken = log_shares.exp().sum(-1, /*keepdim=*/true);
  return torch::log((1 - taken).clamp_min(1e-7));
}

}  // namespace

std::vector<torch::Tensor> Tail::forward(const torch::Tensor& x, bool keep) const {
  const torch::NoGradGuard no_grad;
  const Positions positions = rope_positions(model_.config(), 0, x.size(1), x.device());
  std::vector<torch::Tensor> states = {x};
  for (std::int64_t layer = first_; layer < model_.layer_count(); ++layer) {
    auto next = block_forward(model_.config(), layers_(layer), states.back(), positions);
    if (!keep) states.clear();
    states.push_back(std::move(next));
  }
  return states;
}

torch::Tensor Tail::backward(const std::vector<torch::Tensor>& states, torch::Tensor gradient) const {
  const torch::AutoGradMode with_gradient(true);
  const Positions positions = rope_positions(model_.config(), 0, states.front().size(1), states.front().device());
  for (std::int64_t layer = model_.layer_count() - 1; layer >= first_; --layer) {
    const auto input = states[static_cast<std::size_t>(layer - first_)].detach().requires_grad_(true);
    block_forward(model_.config(), layers_(layer), input, positions).backward(gradient);
    gradient = input.grad();
  }
  return gradient;
}

// block_loss(logits, first row): the loss of rows first … of the states, a scalar with its graph.
template <class BlockLoss>
TailLoss Tail::through(const torch::Tensor& x, bool gradient, BlockLoss&& block_loss) const {
  const auto states = forward(x, gradient);
  const auto last = states.back().reshape({-1, x.size(2)});
  const torch::AutoGradMode mode(gradient);
  TailLoss loss;
  torch::Tensor at_end = gradient ? torch::empty_like(last) : torch::Tensor();
  const std::int64_t rows = block_rows(model_.config().vocab);
  for (std::int64_t begin = 0; begin < last.size(0); begin += rows) {
    const std::int64_t count = std::min(rows, last.size(0) - begin);
    const auto block = last.narrow(0, begin, count).detach().requires_grad_(gradient);
    const torch::Tensor value = block_loss(model_.logits(block), begin);
    loss.sum += value.item<double>();
    if (!gradient) continue;
    value.backward();
    at_end.narrow(0, begin, count).copy_(block.grad());
  }
  if (gradient) loss.gradient = backward(states, at_end.view_as(states.back()));
  return loss;
}

TailLoss Tail::next_token(const torch::Tensor& x, const torch::Tensor& ids, bool gradient) const {
  SL_ASSERT(ids.dim() == 2 && ids.size(0) == x.size(0) && ids.size(1) == x.size(1));
  constexpr std::int64_t kNoTarget = -100;
  auto targets = torch::full_like(ids, kNoTarget);
  targets.narrow(1, 0, ids.size(1) - 1).copy_(ids.narrow(1, 1, ids.size(1) - 1));
  targets = targets.reshape({-1});
  return through(x, gradient, [&](const torch::Tensor& logits, std::int64_t begin) {
    return at::nll_loss(log_softmax_of(logits), targets.narrow(0, begin, logits.size(0)), {}, at::Reduction::Sum,
                        kNoTarget);
  });
}

TailLoss Tail::divergence(const torch::Tensor& x, const TopTokens& teacher, bool gradient) const {
  SL_ASSERT(teacher.ids.size(0) == x.size(0) * x.size(1));
  const bool whole = teacher.ids.size(1) == model_.config().vocab;
  return through(x, gradient, [&](const torch::Tensor& logits, std::int64_t begin) {
    const std::int64_t count = logits.size(0);
    const auto mine = log_softmax_of(logits).gather(1, teacher.ids.narrow(0, begin, count));
    const auto theirs = teacher.log_shares.narrow(0, begin, count).to(mine.scalar_type());
    auto sum = (theirs.exp() * (theirs - mine)).sum();
    if (whole) return sum;
    const auto their_rest = log_rest(theirs), my_rest = log_rest(mine);
    return sum + (their_rest.exp() * (their_rest - my_rest)).sum();
  });
}

TopTokens Tail::top_tokens(const torch::Tensor& x, std::int64_t k) const {
  const torch::NoGradGuard no_grad;
  const auto last = forward(x, /*keep=*/false).back().reshape({-1, x.size(2)});
  const std::int64_t kept = std::min(k, model_.config().vocab), rows = block_rows(model_.config().vocab);
  std::vector<torch::Tensor> ids, shares;
  for (std::int64_t begin = 0; begin < last.size(0); begin += rows) {
    const auto block = last.narrow(0, begin, std::min(rows, last.size(0) - begin));
    auto [values, indices] = log_softmax_of(model_.logits(block)).topk(kept, -1);
    shares.push_back(values);
    ids.push_back(indices);
  }
  return {torch::cat(ids), torch::cat(shares)};
}

}  // namespace streamline
