// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/judged_stream.h"

#include "streamline/engine/sweep.h"

namespace streamline {
namespace {

constexpr std::size_t kJudgeEvery = 8;

}  // namespace

std::vector<JudgedStream> judged_streams(const Model& model, const TokenBatches& text) {
  std::vector<JudgedStream> streams;
  TokenBatches teaching, judging;
  for (std::size_t i = 0; i < text.sequences.size(); ++i)
    (i % kJudgeEvery == kJudgeEvery - 1 || i + 1 == text.sequences.size() ? judging : teaching)
        .sequences.push_back(text.sequences[i]);
  for (const TokenBatches* part : {&teaching, &judging})
    for (const auto& sequences : batches_of_one_length(*part, default_batch_tokens(model))) {
      const auto ids = to_tensor(*part, sequences, model.placement().device);
      streams.push_back({.x = model.embed(ids),
                         .positions = rope_positions(model.config(), 0, ids.size(1), model.placement().device),
                         .judges = part == &judging});
    }
  return streams;
}

}  // namespace streamline
