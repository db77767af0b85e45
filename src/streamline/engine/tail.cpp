// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/tail.h"

#include <algorithm>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::int64_t kBlockLogits = std::int64_t{1} << 23;  // of one block: 32 MB in fp32
constexpr std::int64_t kLeastRows = 128;  // even so: with fewer, reading the head takes longer than its product

// Rows of hidden states whose logits are held at once.
std::int64_t block_rows(const Config& config) { return std::max(kLeastRows, kBlockLogits / config.vocab); }

}  // namespace

std::uint64_t head_memory(const Model& model) {
  const Config& config = model.config();
  const std::int64_t alive = config.scale.logit_softcap == 0 ? 3 : 5;  // logits, their gradient and one copy of it
  const auto logits = static_cast<std::uint64_t>(alive * block_rows(config) * config.vocab);
  return model.head_bytes() + logits * torch::elementSize(model.placement().dtype);
}

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

// block_loss(logits, first row): the LogitLoss of rows first … of the states.
template <class BlockLoss>
TailLoss Tail::through(const torch::Tensor& x, bool gradient, BlockLoss&& block_loss) const {
  const auto states = forward(x, gradient);
  const auto last = states.back().reshape({-1, x.size(2)});
  const torch::AutoGradMode mode(gradient);
  TailLoss loss;
  torch::Tensor at_end = gradient ? torch::empty_like(last) : torch::Tensor();
  const std::int64_t rows = block_rows(model_.config());
  const RoleTensors head = model_.head();
  for (std::int64_t begin = 0; begin < last.size(0); begin += rows) {
    const std::int64_t count = std::min(rows, last.size(0) - begin);
    const auto block = last.narrow(0, begin, count).detach().requires_grad_(gradient);
    const auto logits = model_.head_logits(model_.head_input(block), head);
    const LogitLoss here = block_loss(logits.detach(), begin);
    loss.sum += here.sum;
    if (!gradient) continue;
    logits.backward(here.gradient);
    at_end.narrow(0, begin, count).copy_(block.grad());
  }
  if (gradient) loss.gradient = backward(states, at_end.view_as(states.back()));
  return loss;
}

TailLoss Tail::next_token(const torch::Tensor& x, const torch::Tensor& ids, bool gradient) const {
  SL_ASSERT(ids.dim() == 2 && ids.size(0) == x.size(0) && ids.size(1) == x.size(1));
  auto targets = torch::full_like(ids, kNoTarget);
  targets.narrow(1, 0, ids.size(1) - 1).copy_(ids.narrow(1, 1, ids.size(1) - 1));
  targets = targets.reshape({-1});
  return through(x, gradient, [&](const torch::Tensor& logits, std::int64_t begin) {
    return cross_entropy(logits, targets.narrow(0, begin, logits.size(0)), gradient);
  });
}

TailLoss Tail::divergence(const torch::Tensor& x, const TopTokens& teacher, bool gradient) const {
  SL_ASSERT(teacher.ids.size(0) == x.size(0) * x.size(1));
  return through(x, gradient, [&](const torch::Tensor& logits, std::int64_t begin) {
    const std::int64_t count = logits.size(0);
    return top_divergence(logits, {teacher.ids.narrow(0, begin, count), teacher.log_shares.narrow(0, begin, count)},
                          gradient);
  });
}

TopTokens Tail::top_tokens(const torch::Tensor& x, std::int64_t k) const {
  const torch::NoGradGuard no_grad;
  const auto last = forward(x, /*keep=*/false).back().reshape({-1, x.size(2)});
  const std::int64_t rows = block_rows(model_.config());
  const RoleTensors head = model_.head();
  std::vector<torch::Tensor> ids, shares;
  for (std::int64_t begin = 0; begin < last.size(0); begin += rows) {
    const auto input = model_.head_input(last.narrow(0, begin, std::min(rows, last.size(0) - begin)));
    const TopTokens block = streamline::top_tokens(model_.head_logits(input, head), k);
    ids.push_back(block.ids);
    shares.push_back(block.log_shares);
  }
  return {torch::cat(ids), torch::cat(shares)};
}

}  // namespace streamline
