// SPDX-License-Identifier: Apache-2.0
// What a layer, or one half of it, does to the residual stream.
#pragma once

#include <array>

#include "streamline/nn/torch.h"

namespace streamline {

// Of x_in -> x_out, means over tokens; a token for which a denominator is 0 counts as 0.
struct UpdateStatistics {
  double cosine = 0;                               // of x_in and x_out
  double l1 = 0, l2 = 0;                           // |x_out - x_in|
  double relative_l1_in = 0, relative_l1_out = 0;  // over |x_in|, over |x_out|, each in its own norm
  double relative_l2_in = 0, relative_l2_out = 0;
  double angle = 0;  // between x_in and x_out, over pi: 0 … 1

  UpdateStatistics& operator+=(const UpdateStatistics& other);
  UpdateStatistics& operator*=(double factor);
  UpdateStatistics& operator/=(double divisor);
};

// All of them, with the names that they have in files.
struct UpdateField {
  const char* name;
  double UpdateStatistics::*value;
};
inline constexpr std::array kUpdateFields = {UpdateField{"cosine", &UpdateStatistics::cosine},
                                             UpdateField{"l1", &UpdateStatistics::l1},
                                             UpdateField{"l2", &UpdateStatistics::l2},
                                             UpdateField{"relative_l1_in", &UpdateStatistics::relative_l1_in},
                                             UpdateField{"relative_l1_out", &UpdateStatistics::relative_l1_out},
                                             UpdateField{"relative_l2_in", &UpdateStatistics::relative_l2_in},
                                             UpdateField{"relative_l2_out", &UpdateStatistics::relative_l2_out},
                                             UpdateField{"angle", &UpdateStatistics::angle}};
static_assert(sizeof(UpdateStatistics) == kUpdateFields.size() * sizeof(double), "every member is in the list");

// in, out: [tokens, hidden] of one sequence. fp32 inside a token, double across; by tensor expressions on other devices
// and types. Does not depend on the number of threads.
UpdateStatistics update_statistics(const torch::Tensor& in, const torch::Tensor& out);
// The same in float64 tensor expressions on any device: what the kernel is tested against.
UpdateStatistics update_statistics_by_tensors(const torch::Tensor& in, const torch::Tensor& out);

}  // namespace streamline
