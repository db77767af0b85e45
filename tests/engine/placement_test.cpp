// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/placement.h"

#include <ATen/Parallel.h>

#include "streamline/nn/type_name.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

TEST(Placement, TypesHaveOneName) {
  for (const auto type : {torch::kFloat, torch::kBFloat16, torch::kHalf})
    EXPECT_EQ(resolve_placement("cpu", std::string(type_name(type))).dtype, type);
  EXPECT_EQ(type_name(torch::kBFloat16), "bfloat16");
  EXPECT_TRUE(resolve_placement("cpu", "auto").device.is_cpu());
}

TEST(Placement, RefusesWhatItDoesNotKnow) {
  EXPECT_ERROR(resolve_placement("tpu", "auto"), usage, "device 'tpu'");
  EXPECT_ERROR(resolve_placement("cuda:x", "auto"), usage, "device 'cuda:x'");
  EXPECT_ERROR(resolve_placement("cpu", "int8"), usage, "dtype 'int8'");
  for (const char* short_name : {"bf16", "fp16", "f32", "BFloat16"})
    EXPECT_ERROR(resolve_placement("cpu", short_name), usage, "use auto, float32, bfloat16 or float16");
}

TEST(Placement, RefusesCudaWhereThereIsNone) {
  if (torch::cuda::is_available()) GTEST_SKIP() << "this machine has a CUDA device";
  EXPECT_ERROR(resolve_placement("cuda", "auto"), usage, "no CUDA device");
}

TEST(Placement, SaysWhatItIs) {
  const int before = at::get_num_threads();
  set_threads(1);
  EXPECT_EQ(describe(resolve_placement("cpu", "bfloat16")), "cpu, bfloat16, 1 thread");
  set_threads(2);
  EXPECT_EQ(describe(resolve_placement("cpu", "float32")), "cpu, float32, 2 threads");
  set_threads(before);
}

}  // namespace
}  // namespace streamline
