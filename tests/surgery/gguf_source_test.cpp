// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/apply.h"
#include "support/core/expect.h"
#include "support/core/pico_gguf.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {

TEST(GgufSource, IsRefusedBeforeAnythingIsWritten) {
  const test::TemporaryDirectory directory;
  const auto checkpoint = test::open_pico_gguf(test::pico_gguf(test::pico_config("llama")));
  const Model model = Model::open(checkpoint, {.dtype = torch::kFloat});
  Plan plan;
  plan.base.layers = 4;
  plan.segments = {{.first = 0, .last = 3, .action = Action::keep}};
  EXPECT_ERROR(apply_plan(model, plan, {}, directory.path() / "out", {}), unsupported,
               "dir/pico.gguf: a plan cannot be applied to a GGUF file");
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "out"));
}

}  // namespace
}  // namespace streamline
