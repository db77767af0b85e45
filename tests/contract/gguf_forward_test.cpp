// SPDX-License-Identifier: Apache-2.0
// What every family with a GGUF architecture promises: its GGUF files compute what its safetensors files compute.
#include "streamline/engine/model.h"
#include "support/core/expect.h"
#include "support/core/pico_gguf.h"
#include "support/torch/pico.h"
#include "support/torch/reference.h"

namespace streamline {
namespace {

constexpr double kRounding = 1e-5;  // of norms that are stored as 1 + w

TEST(GgufForward, IsThatOfTheSafetensorsTwinInEachFamily) {
  const torch::NoGradGuard no_grad;
  const auto ids = test::pico_ids(2, 19, 32);
  for (const Family* family : families()) {
    if (!test::has_pico_gguf(*family)) continue;
    SCOPED_TRACE(family->name);
    const Json config = test::gguf_pico_config(*family);
    const Model twin = Model::open(test::pico_checkpoint(config), {.dtype = torch::kFloat});
    const Model gguf = Model::open(test::open_pico_gguf(test::pico_gguf(config)), {.dtype = torch::kFloat});
    EXPECT_LT(test::relative_difference(forward_logits(gguf, ids), forward_logits(twin, ids)), kRounding);
  }
}

}  // namespace
}  // namespace streamline
