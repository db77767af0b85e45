// SPDX-License-Identifier: Apache-2.0
// Keep-probabilities of units that losses alone teach (Gao et al., "Bypass Back-propagation: Optimization-based
// Structural Pruning for Large Language Models via Policy Gradient", arXiv 2406.10576): the estimator as released and
// in its exact form, the projection onto a budget, and where the probabilities begin and end.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "streamline/base/random.h"

namespace streamline {

using Probabilities = std::vector<double>;
using UnitMask = std::vector<bool>;  // true: kept

// Scores as probabilities whose mean is `keep` (before they are clamped): sigmoid of the standardised scores, shifted.
Probabilities sigmoid_map(std::span<const double> scores, double keep);

// The nearest point with all in [0, 1] and a sum of at most `budget`: unchanged where it is one, else s - v, clamped.
Probabilities projected(const Probabilities& s, double budget);

enum class ScoreForm {
  root,   // (m - s) / sqrt(s (1 - s)), as released
  exact,  // (m - s) / (s (1 - s))
};
double score_term(bool kept, double s, ScoreForm form);

// Of K >= 2 masks and their losses on one text: 1/(K-1) sum_k (L_k - baseline) * score term, unit by unit. Of a single
// mask: its term alone.
std::vector<double> policy_gradient(const Probabilities& s, const std::vector<UnitMask>& masks,
                                    std::span<const double> losses, double baseline, ScoreForm form);

// The same where each mask's baseline is the mean loss of those drawn independently of it:
//     1/K sum_k (L_k - mean of the losses outside k's group) * score term,
// groups of so many masks one after the other, mirrored pairs being 2; unbiased in the exact form. Two groups or more.
std::vector<double> leave_one_out_gradient(const Probabilities& s, const std::vector<UnitMask>& masks,
                                           std::span<const double> losses, std::size_t group, ScoreForm form);

// The released baseline: an average that takes in the newest loss before it is used.
double moved_baseline(double baseline, double loss, std::int64_t window);

// From `rate` to zero along half a cosine.
double cosine_rate(double rate, std::int64_t step, std::int64_t steps);

// Of n units the floor(n (1 - keep)) that go, in double as released.
std::int64_t removed_by(std::int64_t units, double keep);
// Those with the largest probabilities stay; of ties the last.
UnitMask likeliest_mask(const Probabilities& s, std::int64_t removed);

// Independent draws; with `antithetic` every second one mirrors the uniform numbers of the one before (u and 1 - u).
std::vector<UnitMask> drawn_masks(const Probabilities& s, std::int64_t count, bool antithetic, Rng& rng);

}  // namespace streamline
