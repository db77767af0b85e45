// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/loss.h"

#include <algorithm>
#include <array>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::array<std::string_view, 5> kLosses = {"mse", "normalised-mse", "state", "lm", "kl"};

Loss replacement_loss(std::string_view name) {
  if (name == loss_name(Loss::state))
    fail(ErrorKind::usage, "--loss ", name,
         ": trains no replacement; it is what `streamline heal --with sherl --target hidden` trains by");
  return parse_loss(name);
}

}  // namespace

std::string_view loss_name(Loss loss) { return kLosses.at(static_cast<std::size_t>(loss)); }

Loss parse_loss(std::string_view name) {
  if (const auto found = std::ranges::find(kLosses, name); found != kLosses.end())
    return static_cast<Loss>(found - kLosses.begin());
  fail(ErrorKind::usage, "no loss is called '", name,
       "'; there are mse, normalised-mse, lm, kl, and two of them in turn, as in mse+kl");
}

std::vector<LossStage> parse_losses(std::string_view text, double split) {
  const std::size_t plus = text.find('+');
  if (plus == std::string_view::npos) return {{replacement_loss(text), 1}};
  if (!(split > 0 && split < 1))
    fail(ErrorKind::usage, "the first loss takes a share of ", split, " of the steps; must lie between 0 and 1");
  return {{replacement_loss(text.substr(0, plus)), split}, {replacement_loss(text.substr(plus + 1)), 1 - split}};
}

std::string losses_name(const std::vector<LossStage>& stages) {
  std::string name;
  for (const LossStage& stage : stages) name += (name.empty() ? "" : "+") + std::string(loss_name(stage.loss));
  return name;
}

}  // namespace streamline
