// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/objective.h"

#include "streamline/base/error.h"

namespace streamline {
namespace {

// 1 - cos(ŷ, y) of each token; its gradient is (cos ŷ / |ŷ| - y / |y|) / |ŷ|.
void add_angle(Judgement& judgement, const torch::Tensor& prediction, const torch::Tensor& target,
               bool skip_first_position) {
  const auto length = prediction.norm(2, -1, /*keepdim=*/true).clamp_min(1e-6);
  const auto from = prediction / length, to = target / target.norm(2, -1, /*keepdim=*/true).clamp_min(1e-6);
  const auto cosine = (from * to).sum(-1, /*keepdim=*/true);
  auto angle = 1 - cosine, gradient = (cosine * from - to) / length;
  if (skip_first_position) {
    angle.narrow(1, 0, 1).zero_();
    gradient.narrow(1, 0, 1).zero_();
  }
  judgement.sum += angle.sum().item<double>();
  if (judgement.gradient.defined()) judgement.gradient.add_(gradient);
}

}  // namespace

double Objective::terms(const TokenBatches& batches, const Indices& sequences) const {
  std::int64_t tokens = 0;
  for (const std::int64_t i : sequences) {
    const auto length = static_cast<std::int64_t>(batches.sequences[static_cast<std::size_t>(i)].size());
    const bool without_first = loss_ == Loss::next_token || (loss_ != Loss::divergence && options_.skip_first_position);
    tokens += without_first ? length - 1 : length;
  }
  return static_cast<double>(loss_ == Loss::mse ? tokens * hidden_ : tokens);
}

Judgement state_error(Loss loss, const torch::Tensor& prediction, const torch::Tensor& target, bool skip_first_position,
                      bool gradient) {
  const torch::NoGradGuard no_grad;
  const auto type = at::promote_types(prediction.scalar_type(), torch::kFloat32);
  const auto wanted = target.to(type);
  auto difference = prediction.to(type) - wanted;
  if (skip_first_position) difference.narrow(1, 0, 1).zero_();
  if (loss == Loss::mse) {
    Judgement judgement{.sum = difference.square().sum().item<double>()};
    if (gradient) judgement.gradient = difference.mul_(2);
    return judgement;
  }
  const auto energy = wanted.square().sum(-1, /*keepdim=*/true).clamp_min(1e-12);
  Judgement judgement{.sum = (difference.square() / energy).sum().item<double>()};
  if (gradient) judgement.gradient = difference.mul_(2).div_(energy);
  if (loss == Loss::state) add_angle(judgement, prediction.to(type), wanted, skip_first_position);
  return judgement;
}

Judgement Objective::judge(const torch::Tensor& prediction, const WindowStates& states, const TokenBatches& batches,
                           const Indices& sequences, bool gradient) const {
  const auto judged = [](TailLoss loss) { return Judgement{loss.sum, std::move(loss.gradient)}; };
  switch (loss_) {
    case Loss::mse:
    case Loss::normalised_mse:
    case Loss::state:
      return state_error(loss_, prediction, states.output, options_.skip_first_position, gradient);
    case Loss::next_token:
      return judged(tail_.next_token(prediction, to_tensor(batches, sequences, prediction.device()), gradient));
    case Loss::divergence:
      return judged(tail_.divergence(prediction, states.teacher.ids.defined() ? states.teacher : teacher(states.output),
                                     gradient));
  }
  fail(ErrorKind::internal, "unknown loss");
}

}  // namespace streamline
