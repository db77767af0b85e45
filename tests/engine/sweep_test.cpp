// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/sweep.h"

#include <numeric>

#include "support/core/expect.h"
#include "support/torch/pico.h"
#include "support/torch/reference.h"

namespace streamline {
namespace {

using namespace test;

Model small_llama() { return pico_model(family_named("llama"), {}); }

TokenBatches sequences(const std::vector<std::int64_t>& lengths) {
  TokenBatches batches;
  std::uint64_t seed = 1;
  for (const std::int64_t length : lengths) {
    const auto ids = pico_ids(1, length, 64, ++seed);
    const auto* data = ids.const_data_ptr<std::int64_t>();
    batches.sequences.emplace_back(data, data + length);
  }
  return batches;
}

// h_0 … h_L of every sequence as a sweep shows them.
std::vector<std::vector<torch::Tensor>> swept_states(const Model& model, const TokenBatches& batches,
                                                     const SweepOptions& options) {
  std::vector<std::vector<torch::Tensor>> states(batches.sequences.size());
  const auto keep = [&](const SweepBatch& batch, const torch::Tensor& x) {
    for (std::size_t i = 0; i < batch.sequences.size(); ++i)
      states[static_cast<std::size_t>(batch.sequences[i])].push_back(x[static_cast<std::int64_t>(i)].clone());
  };
  sweep(model, batches, options,
        {.begin = keep, .layer = [&](const SweepBatch& batch, const LayerStep& step) { keep(batch, step.output); }});
  return states;
}

TEST(Sweep, ShowsTheHiddenStatesOfEverySequenceInAnyBatchSize) {
  const torch::NoGradGuard no_grad;
  const Model model = small_llama();
  const TokenBatches batches = sequences({12, 12, 7, 12, 7, 12, 1});
  for (const std::int64_t batch_tokens : {1, 24, 30, 0}) {
    const auto states = swept_states(model, batches, {.batch_tokens = batch_tokens});
    for (std::size_t s = 0; s < states.size(); ++s) {
      const auto expected = hidden_states(model, to_tensor(batches, {static_cast<std::int64_t>(s)}, torch::kCPU));
      ASSERT_EQ(states[s].size(), expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i)
        EXPECT_LT(relative_difference(states[s][i].unsqueeze(0), expected[i]), kFloat32);
    }
  }
}

TEST(Sweep, GoesThroughTheLayersInOrderAndHandsOnWhatItGot) {
  const Model model = small_llama();
  std::vector<std::string> events;
  const void* previous = nullptr;
  const auto batch_size = [](const SweepBatch& batch) { return std::to_string(batch.sequences.size()); };
  sweep(model, sequences({5, 5, 5}), {.batch_tokens = 10},
        {.begin =
             [&](const SweepBatch& batch, const torch::Tensor& x) {
               events.push_back("begin " + batch_size(batch));
               previous = x.data_ptr();
             },
         .layer =
             [&](const SweepBatch&, const LayerStep& step) {
               events.push_back(std::to_string(step.layer));
               EXPECT_EQ(step.input.data_ptr(), previous);
               EXPECT_TRUE(step.weights.has(Role::q));
               EXPECT_FALSE(step.output.requires_grad());
               previous = step.output.data_ptr();
             },
         .end = [&](const SweepBatch& batch, const torch::Tensor&) { events.push_back("end " + batch_size(batch)); }});
  EXPECT_THAT(events,
              testing::ElementsAre("begin 2", "0", "1", "2", "3", "end 2", "begin 1", "0", "1", "2", "3", "end 1"));
}

// The same weights, with so little memory that they do not stay in it.
Model without_room(const Model& model) { return Model::open(model.shared_checkpoint(), {.memory = 1}); }

TEST(Sweep, LayerByLayerShowsTheSameStatesToTheBitInMemoryAndInAFile) {
  const Model model = small_llama();
  const TokenBatches batches = sequences({12, 12, 7, 12, 7, 12, 1});
  const auto expected = swept_states(model, batches, {.batch_tokens = 24, .order = SweepOrder::batches});
  const auto in_memory = swept_states(model, batches, {.batch_tokens = 24, .order = SweepOrder::layers});
  const auto in_file = swept_states(without_room(model), batches, {.batch_tokens = 24});
  for (const auto* swept : {&in_memory, &in_file})
    for (std::size_t s = 0; s < expected.size(); ++s) {
      ASSERT_EQ((*swept)[s].size(), expected[s].size());
      for (std::size_t i = 0; i < expected[s].size(); ++i) EXPECT_TRUE(torch::equal((*swept)[s][i], expected[s][i]));
    }
}

TEST(Sweep, WhereTheWeightsDoNotStayEachLayerSeesAllBatches) {
  std::vector<std::int64_t> layers;
  std::vector<torch::Tensor> last;
  const Model model = small_llama();
  sweep(without_room(model), sequences({5, 5, 5}), {.batch_tokens = 10},
        {.layer = [&](const SweepBatch&, const LayerStep& step) { layers.push_back(step.layer); },
         .states =
             [&](const SweepBatch&, std::span<const torch::Tensor> states) {
               EXPECT_EQ(std::ssize(states), model.layer_count() + 1);
               last.push_back(states.back().clone());
             }});
  EXPECT_THAT(layers, testing::ElementsAre(0, 0, 1, 1, 2, 2, 3, 3));
  ASSERT_EQ(last.size(), 2U);
  EXPECT_TRUE(torch::equal(last[1], hidden_states(model, to_tensor(sequences({5, 5, 5}), {2}, torch::kCPU)).back()));
}

TEST(Sweep, KeepsTheOrderOfSequencesWithinALength) {
  std::vector<std::int64_t> order;
  sweep(small_llama(), sequences({4, 6, 4, 6, 4}), {.batch_tokens = 8},
        {.end = [&](const SweepBatch& batch, const torch::Tensor&) {
          order.insert(order.end(), batch.sequences.begin(), batch.sequences.end());
        }});
  EXPECT_THAT(order, testing::ElementsAre(0, 2, 4, 1, 3));
}

TEST(Sweep, PassesOnWhichPositionsEnterNoStatistic) {
  TokenBatches batches = sequences({4});
  batches.skip_first = 1;
  std::int64_t skipped = -1;
  sweep(small_llama(), batches, {},
        {.begin = [&](const SweepBatch& batch, const torch::Tensor&) { skipped = batch.skip_first; }});
  EXPECT_EQ(skipped, 1);
}

TEST(Sweep, RefusesSequencesBeyondTheModelsPositionsUnlessAsked) {
  const TokenBatches batches = sequences({65});
  EXPECT_ERROR(sweep(small_llama(), batches, {}, {}), mismatch, "65 tokens is longer than the model's 64 positions");
  sweep(small_llama(), batches, {.beyond_positions = true}, {});
}

TEST(Sweep, RefusesTokensOutsideTheEmbedding) {
  TokenBatches batches = sequences({5});
  batches.sequences[0][3] = 99;
  EXPECT_ERROR(sweep(small_llama(), batches, {}, {}), mismatch, "token id 99");
}

TEST(Sweep, LetsAVisitorsErrorThrough) {
  EXPECT_ERROR(sweep(small_llama(), sequences({5}), {},
                     {.begin = [](const SweepBatch&, const torch::Tensor&) { fail(ErrorKind::numeric, "mine"); }}),
               numeric, "mine");
}

TEST(Sweep, TurnsTheTensorLibrarysErrorsIntoOurs) {
  EXPECT_ERROR(sweep(small_llama(), sequences({5}), {},
                     {.begin = [](const SweepBatch&, const torch::Tensor& x) { x + torch::zeros({3}); }}),
               internal, "tensor library");
}

TEST(Sweep, NeedsMoreMemoryForMoreTokensAndForConversions) {
  const Model f32 = small_llama();
  EXPECT_GT(sweep_memory(f32, 64, 4096, Keeps::nothing), sweep_memory(f32, 64, 1024, Keeps::nothing));
  const Model converted =
      pico_model(family_named("llama"), {.dtype = DType::bf16, .extra = {{"torch_dtype", "bfloat16"}}});
  EXPECT_GT(sweep_memory(converted, 64, 1024, Keeps::nothing), 0u);
}

}  // namespace
}  // namespace streamline
