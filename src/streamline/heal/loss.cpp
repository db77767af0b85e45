// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/loss.h"

#include <array>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::array kLosses = {Loss::mse, Loss::normalised_mse, Loss::state, Loss::next_token, Loss::divergence};

Loss parse_loss(std::string_view name) {
  std::string known;
  for (const Loss loss : kLosses) {
    if (loss_name(loss) == name) return loss;
    known += (known.empty() ? "" : ", ") + std::string(loss_name(loss));
  }
  fail(ErrorKind::usage, "no loss is called '", name, "'; there are ", known,
       ", and two of them in turn, as in mse+kl");
}

}  // namespace

std::string_view loss_name(Loss loss) {
  switch (loss) {
    case Loss::mse:
      return "mse";
    case Loss::normalised_mse:
      return "normalised-mse";
    case Loss::state:
      return "state";
    case Loss::next_token:
      return "lm";
    case Loss::divergence:
      return "kl";
  }
  fail(ErrorKind::internal, "unknown loss");
}

std::vector<LossStage> parse_losses(std::string_view text, double split) {
  const std::size_t plus = text.find('+');
  if (plus == std::string_view::npos) return {{parse_loss(text), 1}};
  if (!(split > 0 && split < 1))
    fail(ErrorKind::usage, "the first loss takes a share of ", split, " of the steps; must lie between 0 and 1");
  return {{parse_loss(text.substr(0, plus)), split}, {parse_loss(text.substr(plus + 1)), 1 - split}};
}

std::string losses_name(const std::vector<LossStage>& stages) {
  std::string name;
  for (const LossStage& stage : stages) name += (name.empty() ? "" : "+") + std::string(loss_name(stage.loss));
  return name;
}

}  // namespace streamline
