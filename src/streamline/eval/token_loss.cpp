// SPDX-License-Identifier: Apache-2.0
// The head's product dominates; its weights are cut into pieces, so that each is brought into the processor's own
// layout once for all rows and its logits are still in the cache when they are summed.
#include "streamline/eval/token_loss.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>

#include "streamline/base/error.h"
#include "streamline/nn/kernel_walk.h"
#include "streamline/nn/kernels.h"
#include "streamline/nn/log_sum_exp.h"

namespace streamline {
namespace {

constexpr std::int64_t kPieceLogits = std::int64_t{1} << 23;  // logits alive at once: 32 MB of float32
constexpr std::int64_t kSmallestPiece = 1024;                 // vocabulary entries: narrower products run slower

// Targets by row: those of row r are order[begin[r]] … order[begin[r + 1] - 1].
struct TargetsByRow {
  std::vector<std::size_t> begin, order;
};

TargetsByRow by_row(std::span<const TokenTarget> targets, std::int64_t rows) {
  TargetsByRow result{.begin = std::vector<std::size_t>(static_cast<std::size_t>(rows) + 1), .order = {}};
  for (const TokenTarget& target : targets) {
    SL_ASSERT(target.row >= 0 && target.row < rows);
    ++result.begin[static_cast<std::size_t>(target.row) + 1];
  }
  std::partial_sum(result.begin.begin(), result.begin.end(), result.begin.begin());
  std::vector<std::size_t> next = result.begin;
  result.order.resize(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) result.order[next[static_cast<std::size_t>(targets[i].row)]++] = i;
  return result;
}

// Of a batch of rows, after some pieces of the vocabulary.
struct Sums {
  std::vector<LogSumExp> rows;
  std::vector<double> picked;  // the targets' logits
};

// logits: [rows, piece] of type T, of vocabulary entries first … first+piece-1.
template <class T>
void add_piece(const torch::Tensor& logits, std::int64_t first, std::span<const TokenTarget> targets,
               const TargetsByRow& order, Sums& sums) {
  const std::int64_t piece = logits.size(1);
  const T* values = kernels::data<T>(logits);
  at::parallel_for(0, logits.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const T* row_values = values + row * piece;
      const auto index = static_cast<std::size_t>(row);
      add(sums.rows[index], std::span(row_values, static_cast<std::size_t>(piece)));
      for (std::size_t i = order.begin[index]; i < order.begin[index + 1]; ++i) {
        const std::int64_t target = targets[order.order[i]].token - first;
        if (target >= 0 && target < piece)
          sums.picked[order.order[i]] = static_cast<double>(simd::load(row_values + target));
      }
    }
  });
}

}  // namespace

std::vector<TokenScore> token_scores(const Model& model, const torch::Tensor& hidden,
                                     std::span<const TokenTarget> targets) {
  SL_ASSERT(hidden.dim() == 2);
  if (!hidden.is_cpu()) return token_scores_by_tensors(model, hidden, targets);
  const torch::NoGradGuard no_gradients;
  const torch::Tensor x = model.head_input(hidden);  // [rows, width of the head]
  const std::int64_t rows = x.size(0), vocab = model.config().vocab;
  const std::int64_t piece = std::max(kSmallestPiece, kPieceLogits / std::max<std::int64_t>(rows, 1));
  const TargetsByRow order = by_row(targets, rows);
  Sums sums{.rows = std::vector<LogSumExp>(static_cast<std::size_t>(rows)),
            .picked = std::vector<double>(targets.size())};
  for (std::int64_t first = 0; first < vocab && rows > 0; first += piece) {
    const torch::Tensor logits = model.head_logits(x, first, std::min(piece, vocab - first));
    const torch::Tensor values = (kernels::serve({logits}) ? logits : logits.to(torch::kFloat32)).contiguous();
    kernels::with_type(values, [&]<class T>(T*) { add_piece<T>(values, first, targets, order, sums); });
  }
  std::vector<TokenScore> result;
  result.reserve(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const LogSumExp& row = sums.rows[static_cast<std::size_t>(targets[i].row)];
    result.push_back({row.value() - sums.picked[i], sums.picked[i] >= row.largest});
  }
  return result;
}

std::vector<TokenScore> token_scores_by_tensors(const Model& model, const torch::Tensor& hidden,
                                                std::span<const TokenTarget> targets) {
  const torch::NoGradGuard no_gradients;
  const auto column = [&](const auto& pick) {
    std::vector<std::int64_t> values;
    values.reserve(targets.size());
    for (const TokenTarget& target : targets) values.push_back(pick(target));
    return torch::tensor(values, torch::kInt64).to(hidden.device());
  };
  const torch::Tensor rows = column([](const TokenTarget& target) { return target.row; });
  const torch::Tensor tokens = column([](const TokenTarget& target) { return target.token; });
  const std::int64_t at_once = std::max<std::int64_t>(1, kPieceLogits / model.config().vocab);
  std::vector<TokenScore> result;
  for (std::int64_t first = 0; first < rows.size(0); first += at_once) {
    const std::int64_t last = std::min(rows.size(0), first + at_once);
    const torch::Tensor logits =
        model.logits(hidden.index_select(0, rows.slice(0, first, last))).to(torch::kFloat64);  // [targets, vocab]
    const torch::Tensor picked = logits.gather(1, tokens.slice(0, first, last).unsqueeze(1)).squeeze(1);
    const torch::Tensor losses = (logits.logsumexp(1) - picked).to(torch::kCPU).contiguous();
    const torch::Tensor likeliest = picked.ge(std::get<0>(logits.max(1))).to(torch::kCPU).contiguous();
    for (std::int64_t i = 0; i < losses.size(0); ++i)
      result.push_back({losses.const_data_ptr<double>()[i], likeliest.const_data_ptr<bool>()[i]});
  }
  return result;
}

std::vector<double> token_losses(const Model& model, const torch::Tensor& hidden,
                                 const std::vector<std::int64_t>& targets) {
  SL_ASSERT(hidden.size(0) == static_cast<std::int64_t>(targets.size()));
  std::vector<TokenTarget> rows;
  rows.reserve(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) rows.push_back({static_cast<std::int64_t>(i), targets[i]});
  std::vector<double> losses;
  losses.reserve(targets.size());
  for (const TokenScore& score : token_scores(model, hidden, rows)) losses.push_back(score.loss);
  return losses;
}

}  // namespace streamline
