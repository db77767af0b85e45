// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/inside_statistics.h"

#include "heal/pico.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

constexpr double kSameMoment = 1e-6;  // relative: the expression squares in float32

// What a sweep shows of every matrix, by the expression; leading positions left out where tokens have places.
TEST(InsideStatistics, AreThoseOfTheExpression) {
  for (const char* family : {"llama", "mixtral"})
    for (const auto type : {torch::kFloat, torch::kBFloat16}) {
      SCOPED_TRACE(family);
      const Model model = test::pico_model(test::family_named(family), test::PicoOptions{}, {.dtype = type});
      TokenBatches text = test::random_tokens(5, 9, 4, 64);
      text.skip_first = 1;
      const SweepOptions options{.batch_tokens = 18};
      std::vector<std::map<std::pair<Role, std::int64_t>, std::vector<torch::Tensor>>> rows(4);
      sweep(model, text, options,
            {.inner = [&](const SweepBatch&, std::int64_t layer, Role role, std::int64_t expert,
                          const torch::Tensor& inner) {
              const auto seen = inner.dim() == 3 ? inner.slice(1, 1).flatten(0, 1) : inner;
              rows[static_cast<std::size_t>(layer)][{role, expert}].push_back(seen.to(torch::kFloat));
            }});
      const std::vector<LayerReads> reads = read_moments(model, text, options);
      for (std::size_t layer = 0; layer < rows.size(); ++layer)
        for (const auto& [place, parts] : rows[layer]) {
          const auto all = torch::cat(parts);
          const ReadMoments& found = reads[layer].at(place);
          EXPECT_EQ(found.tokens, all.size(0));
          const auto sum = all.sum(0, /*keepdim=*/false, torch::kDouble);
          const auto squares = all.square().sum(0, /*keepdim=*/false, torch::kDouble);
          EXPECT_TRUE(torch::allclose(found.sum, sum, kSameMoment, kSameMoment)) << role_name(place.first);
          EXPECT_TRUE(torch::allclose(found.squares, squares, kSameMoment, 0)) << role_name(place.first);
        }
    }
}

}  // namespace
}  // namespace streamline
