// SPDX-License-Identifier: Apache-2.0
// Two models' answers can be compared only where both answered the same questions.
#pragma once

#include <string>
#include <vector>

#include "streamline/tasks/answers.h"

namespace streamline {

// What messages call the two sides, for example their folders.
struct SideNames {
  std::string a = "A", b = "B";
};

// b's answers in the order of a's questions, which are found by id. Errors: mismatch with the difference in one line:
// how many questions are only in one of the two and the first of these, or differ in choices or right answer.
TaskAnswers in_order_of(const TaskAnswers& a, TaskAnswers b, const SideNames& names = {});

// The same for lists of sets, which are found by name. Errors: mismatch, also for sets that only one side has.
std::vector<TaskAnswers> in_order_of(const std::vector<TaskAnswers>& a, std::vector<TaskAnswers> b,
                                     const SideNames& names = {});

}  // namespace streamline
