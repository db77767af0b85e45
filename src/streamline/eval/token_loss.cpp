// SPDX-License-Identifier: Apache-2.0
// The head's product dominates; its weights are cut into pieces, so that each is brought into the processor's own
// layout once for all rows and its logits are still in the cache when they are summed.
#include "streamline/eval/token_loss.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/eval/log_sum_exp.h"

namespace streamline {
namespace {

constexpr std::int64_t kPieceLogits = std::int64_t{1} << 23;  // logits alive at once: 32 MB of float32
constexpr std::int64_t kSmallestPiece = 1024;                 // vocabulary entries: narrower products run slower

struct RowLoss {
  LogSumExp total;
  double picked = 0;  // the target's logit
};

// logits: [rows, piece] float32, of vocabulary entries first … first+piece-1.
void add_piece(const torch::Tensor& logits, std::int64_t first, const std::vector<std::int64_t>& targets,
               std::vector<RowLoss>& losses) {
  const std::int64_t piece = logits.size(1);
  const float* values = logits.const_data_ptr<float>();
  at::parallel_for(0, logits.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      RowLoss& loss = losses[static_cast<std::size_t>(row)];
      const float* row_values = values + row * piece;
      add(loss.total, {row_values, static_cast<std::size_t>(piece)});
      const std::int64_t target = targets[static_cast<std::size_t>(row)] - first;
      if (target >= 0 && target < piece) loss.picked = static_cast<double>(row_values[target]);
    }
  });
}

}  // namespace

std::vector<double> token_losses(const Model& model, const torch::Tensor& hidden,
                                 const std::vector<std::int64_t>& targets) {
  SL_ASSERT(hidden.dim() == 2 && hidden.size(0) == static_cast<std::int64_t>(targets.size()));
  if (!hidden.is_cpu()) return token_losses_by_tensors(model, hidden, targets);
  const torch::NoGradGuard no_gradients;
  const torch::Tensor x = model.head_input(hidden);  // [rows, width of the head]
  const std::int64_t rows = x.size(0), vocab = model.config().vocab;
  const std::int64_t piece = std::max(kSmallestPiece, kPieceLogits / std::max<std::int64_t>(rows, 1));
  std::vector<RowLoss> losses(targets.size());
  for (std::int64_t first = 0; first < vocab && rows > 0; first += piece) {
    const torch::Tensor logits = model.head_logits(x, first, std::min(piece, vocab - first));
    add_piece(logits.to(torch::kFloat32).contiguous(), first, targets, losses);
  }
  std::vector<double> result;
  result.reserve(losses.size());
  for (const RowLoss& loss : losses) result.push_back(loss.total.value() - loss.picked);
  return result;
}

std::vector<double> token_losses_by_tensors(const Model& model, const torch::Tensor& hidden,
                                            const std::vector<std::int64_t>& targets) {
  const torch::NoGradGuard no_gradients;
  const torch::Tensor ids = torch::tensor(targets, torch::kInt64).to(hidden.device());
  const std::int64_t rows_at_once = std::max<std::int64_t>(1, kPieceLogits / model.config().vocab);
  std::vector<double> result;
  for (std::int64_t first = 0; first < hidden.size(0); first += rows_at_once) {
    const std::int64_t last = std::min(hidden.size(0), first + rows_at_once);
    const torch::Tensor logits = model.logits(hidden.slice(0, first, last)).to(torch::kFloat64);  // [rows, vocab]
    const torch::Tensor picked = logits.gather(1, ids.slice(0, first, last).unsqueeze(1)).squeeze(1);
    const torch::Tensor losses = (logits.logsumexp(1) - picked).to(torch::kCPU).contiguous();
    result.insert(result.end(), losses.const_data_ptr<double>(), losses.const_data_ptr<double>() + losses.numel());
  }
  return result;
}

}  // namespace streamline
