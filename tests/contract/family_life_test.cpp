// SPDX-License-Identifier: Apache-2.0
// What is done with a model is done with every registered family: sweeping, generating with a cache, healing.
#include "streamline/engine/generate.h"
#include "streamline/engine/sweep.h"
#include "streamline/heal/adamw.h"
#include "streamline/heal/replacement.h"
#include "streamline/heal/student.h"
#include "support/core/expect.h"
#include "support/torch/pico.h"
#include "support/torch/reference.h"

namespace streamline {
namespace {

using namespace test;

class LivingFamily : public testing::TestWithParam<const Family*> {
 protected:
  // Windows are shorter than the sequences, so that they matter.
  Model model() const { return pico_model(*GetParam(), {}, {.dtype = torch::kFloat}); }
};
INSTANTIATE_TEST_SUITE_P(Contract, LivingFamily, testing::ValuesIn(families().begin(), families().end()),
                         [](const auto& info) { return std::string(info.param->name); });

TEST_P(LivingFamily, IsSweptAsItIsRead) {
  const torch::NoGradGuard no_grad;
  const Model swept = model();
  const auto ids = pico_ids(3, 19, swept.config().vocab);
  TokenBatches batches;
  for (std::int64_t row = 0; row < ids.size(0); ++row) {
    const auto* data = ids[row].const_data_ptr<std::int64_t>();
    batches.sequences.emplace_back(data, data + ids.size(1));
  }
  const auto expected = hidden_states(swept, ids);
  std::int64_t seen = 0;
  sweep(swept, batches, {}, {.layer = [&](const SweepBatch&, const LayerStep& step) {
          EXPECT_LT(relative_difference(step.output, expected[static_cast<std::size_t>(step.layer + 1)]), kFloat32);
          ++seen;
        }});
  EXPECT_EQ(seen, swept.layer_count());
  EXPECT_GT(sweep_memory(swept, 19, 57, Keeps::nothing), 0u);
}

TEST_P(LivingFamily, GeneratesWithACacheAsWithout) {
  const torch::NoGradGuard no_grad;
  const Model speaker = model();
  const std::vector<TokenId> prompt = {3, 14, 15, 9, 26, 5, 35, 8, 9};
  const std::vector<TokenId> made = generate(speaker, prompt, {.max_tokens = 12});
  std::vector<std::int64_t> ids(prompt.begin(), prompt.end());
  for (const TokenId token : made) {
    const auto logits = forward_logits(speaker, torch::tensor(ids, torch::kLong).unsqueeze(0));
    EXPECT_EQ(token, logits[0][-1].argmax().item<std::int64_t>());
    ids.push_back(token);
  }
  EXPECT_EQ(made.size(), 12u);
}

// Forty steps of training bring each stand-in nearer to what the window does.
TEST_P(LivingFamily, IsHealedWithItsOwnLayerAndItsOwnMlp) {
  const Model source = model();
  const auto states = hidden_states(source, pico_ids(2, 19, source.config().vocab));
  const torch::Tensor input = states[1].detach(), output = states[3].detach();
  for (const char* name : {"layer", "swiglu-residual"}) {
    Rng rng(5);
    const Replacement& replacement = find_replacement(name);
    Student student(source.config(), source.placement(), {replacement.initial(source, 1, rng)});
    EXPECT_EQ(student.parameter_count(), replacement_parameters(replacement, source.config(), 1));
    AdamW optimizer(student.parameters(), {});
    double first = 0, last = 0;
    for (int step = 0; step < 40; ++step) {
      student.add_gradient(input, [&](const torch::Tensor& prediction) {
        last = torch::mse_loss(prediction, output).item<double>();
        return (prediction - output) * (2.0 / static_cast<double>(output.numel()));
      });
      if (step == 0) first = last;
      optimizer.step(1e-2);
    }
    EXPECT_LT(last, 0.9 * first) << name;
  }
}

}  // namespace
}  // namespace streamline
