// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/sparsify.h"

#include "streamline/nn/norms.h"
#include "streamline/prune/spectra.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"
#include "support/torch/pico.h"

namespace streamline::sparse {
namespace {

using namespace test;

TokenBatches pico_text(const Model& model, std::int64_t sequences, std::int64_t length) {
  const auto ids = pico_ids(sequences, length, model.config().vocab);
  TokenBatches text;
  text.source = text.digest = "ids";
  for (std::int64_t row = 0; row < sequences; ++row) {
    const auto* data = ids[row].const_data_ptr<std::int64_t>();
    text.sequences.emplace_back(data, data + length);
  }
  return text;
}

SparsifyOptions half(Criterion criterion, std::int64_t layers) {
  return {.criterion = criterion, .ratios = std::vector<double>(static_cast<std::size_t>(layers), 0.5)};
}

class Sparsify : public testing::Test {
 protected:
  TemporaryDirectory folder_;
  const Model model_ = pico_model(family_named("llama"), {}, {.dtype = torch::kFloat});
  const TokenBatches text_ = pico_text(model_, 6, 20);

  std::shared_ptr<PrunedStore> store(const std::string& run = "run") const {
    return std::make_shared<PrunedStore>(folder_.path(), run);
  }
};

// What a layer's q reads is the normed state that the layers before it, pruned already, make.
TEST_F(Sparsify, WandaSeesWhatPrunedLayersGive) {
  const auto kept = store();
  sparsify(model_, text_, half(Criterion::wanda, 4), *kept);
  const Model pruned = model_.changed(PrunedStore::change(kept));
  const auto states = hidden_states(pruned, pico_ids(6, 20, model_.config().vocab));
  for (std::int64_t layer = 0; layer < 4; ++layer) {
    const auto input =
        norm(model_.config(), model_.layer(layer).at(Role::attention_norm), states[static_cast<std::size_t>(layer)]);
    torch::Tensor expected = model_.layer(layer).at(Role::q).weight.clone();
    zero_smallest_of_rows(expected, input.flatten(0, 1).square().sum(0).sqrt(), 0.5);
    EXPECT_TRUE(torch::equal(pruned.layer(layer).at(Role::q).weight, expected)) << layer;
  }
}

TEST_F(Sparsify, DenseInputsAreThoseOfTheModelAsItWas) {
  const auto kept = store();
  SparsifyOptions options = half(Criterion::wanda, 4);
  options.inputs = Inputs::dense;
  sparsify(model_, text_, options, *kept);
  const auto states = hidden_states(model_, pico_ids(6, 20, model_.config().vocab));
  const auto input = norm(model_.config(), model_.layer(3).at(Role::attention_norm), states[3]);
  torch::Tensor expected = model_.layer(3).at(Role::v).weight.clone();
  zero_smallest_of_rows(expected, input.flatten(0, 1).square().sum(0).sqrt(), 0.5);
  EXPECT_TRUE(torch::equal(kept->layer(3).at(Role::v), expected));
}

TEST_F(Sparsify, EveryFamilyLosesWhatWasAskedFor) {
  for (const Family* family : families()) {
    SCOPED_TRACE(family->name);
    const Model model = pico_model(*family, {}, {.dtype = torch::kFloat});
    const TokenBatches text = pico_text(model, 52, 20);  // DeciLM is up to 1024 wide
    const bool experts = std::ranges::any_of(model.config().layers,
                                             [](const LayerConfig& layer) { return layer.mlp->experts.has_value(); });
    for (const Criterion criterion : {Criterion::magnitude, Criterion::wanda, Criterion::sparse_gpt}) {
      const TemporaryDirectory folder;
      const auto kept = std::make_shared<PrunedStore>(folder.path(), "run");
      const SparsifyOptions options = half(criterion, model.layer_count());
      if (experts) {
        EXPECT_ERROR(sparsify(model, text, options, *kept), unsupported, "has experts");
        continue;
      }
      const auto matrices = sparsify(model, text, options, *kept);
      EXPECT_EQ(std::ssize(matrices),
                model.layer_count() * std::ssize(matrix_roles(model.config().layers[0], model.config())));
      for (const PrunedMatrix& matrix : matrices)
        EXPECT_NEAR(static_cast<double>(matrix.zeros), 0.5 * static_cast<double>(matrix.weights),
                    2 + 0.02 * static_cast<double>(matrix.weights))
            << role_name(matrix.role);
      EXPECT_TRUE(torch::isfinite(forward_logits(model.changed(PrunedStore::change(kept)), pico_ids(1, 9, 60)))
                      .all()
                      .item<bool>());
    }
  }
}

TEST_F(Sparsify, GoesOnWhereItWasAndGivesTheSame) {
  const auto first = store();
  sparsify(model_, text_, half(Criterion::sparse_gpt, 4), *first);
  std::vector<PrunedMatrices> before;
  for (std::int64_t layer = 0; layer < 4; ++layer) before.push_back(first->layer(layer));
  for (const char* lost : {"layer-2.safetensors", "layer-3.safetensors"})
    std::filesystem::remove(folder_.path() / lost);
  const auto again = store();
  sparsify(model_, text_, half(Criterion::sparse_gpt, 4), *again);
  for (std::int64_t layer = 0; layer < 4; ++layer)
    for (const auto& [role, matrix] : again->layer(layer))
      EXPECT_TRUE(torch::equal(matrix, before[static_cast<std::size_t>(layer)].at(role))) << layer << role_name(role);
  EXPECT_ERROR(sparsify(model_, text_, half(Criterion::wanda, 4), *store("another")), mismatch,
               "the state of another run");
}

TEST_F(Sparsify, NothingGoesAtARatioOfZero) {
  const auto kept = store();
  SparsifyOptions options = half(Criterion::sparse_gpt, 4);
  options.ratios = {0, 0, 0, 0};
  sparsify(model_, text_, options, *kept);
  for (const auto& [role, matrix] : kept->layer(1)) EXPECT_TRUE(torch::equal(matrix, model_.layer(1).at(role).weight));
}

TEST_F(Sparsify, TooLittleTextForAGramMatrixSaysHowMuchItTakes) {
  EXPECT_ERROR(sparsify(model_, pico_text(model_, 2, 20), half(Criterion::sparse_gpt, 4), *store()), usage,
               "40 tokens are too few for the Gram matrix of 48 columns; it takes at least 48");
  EXPECT_ERROR(parse_criterion("random"), usage, "magnitude, wanda, sparsegpt");
}

}  // namespace
}  // namespace streamline::sparse
