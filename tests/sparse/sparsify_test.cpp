// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/sparsify.h"

#include "streamline/arch/expected_tensors.h"
#include "streamline/nn/experts.h"
#include "streamline/nn/norms.h"
#include "streamline/surgery/apply.h"
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

// In the type that the checkpoint has, by the same choice as of the numbers that it stands for.
TEST_F(Sparsify, MagnitudeTakesTheSmallestOfWholeMatrices) {
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    const TemporaryDirectory folder;
    const Model model = pico_model(family_named("llama"), {.dtype = type}, {.dtype = torch::kFloat});
    PrunedStore kept(folder.path(), "run");
    sparsify(model, text_, half(Criterion::magnitude, 4), kept);
    for (const auto& [place, matrix] : kept.layer(2)) {
      const torch::Tensor stored = model.stored_matrix(2, place.role, place.expert);
      auto expected = stored.to(torch::kFloat, /*non_blocking=*/false, /*copy=*/true);
      zero_smallest(expected, 0.5);
      EXPECT_EQ(matrix.scalar_type(), stored.scalar_type());
      EXPECT_TRUE(torch::equal(matrix.to(torch::kFloat), expected)) << role_name(place.role);
    }
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
  EXPECT_TRUE(torch::equal(kept->layer(3).at({Role::v}), expected));
}

TEST_F(Sparsify, LeadingPositionsSayNothing) {
  TokenBatches text = pico_text(model_, 6, 4);
  text.skip_first = 1;
  const auto states = hidden_states(model_, pico_ids(6, 4, model_.config().vocab));
  const auto input = norm(model_.config(), model_.layer(0).at(Role::attention_norm), states[0]);
  const auto without = [&](const torch::Tensor& read) {
    torch::Tensor matrix = model_.layer(0).at(Role::q).weight.clone();
    zero_smallest_of_rows(matrix, read.flatten(0, 1).square().sum(0).sqrt(), 0.5);
    return matrix;
  };
  const torch::Tensor expected = without(input.slice(1, 1));
  ASSERT_FALSE(torch::equal(expected, without(input)));
  for (const Inputs inputs : {Inputs::pruned, Inputs::dense}) {
    const TemporaryDirectory folder;
    PrunedStore kept(folder.path(), "run");
    SparsifyOptions options = half(Criterion::wanda, 4);
    options.inputs = inputs;
    sparsify(model_, text, options, kept);
    EXPECT_TRUE(torch::equal(kept.layer(0).at({Role::q}), expected));
  }
}

// Matrices of a model that lose weights, those of experts one by one.
std::int64_t matrix_count(const Config& config) {
  std::int64_t count = 0;
  for (const LayerConfig& layer : config.layers)
    for (const MatrixPlace& place : matrix_places(layer, config))
      count += is_stack_role(place.role) ? layer.mlp->experts->count : 1;
  return count;
}

TEST_F(Sparsify, EveryFamilyLosesWhatWasAskedFor) {
  for (const Family* family : families()) {
    SCOPED_TRACE(family->name);
    const Model model = pico_model(*family, {}, {.dtype = torch::kFloat});
    const TokenBatches text = pico_text(model, 52, 20);  // DeciLM is up to 1024 wide
    for (const Criterion criterion : {Criterion::magnitude, Criterion::wanda, Criterion::sparse_gpt}) {
      const TemporaryDirectory folder;
      const auto kept = std::make_shared<PrunedStore>(folder.path(), "run");
      const auto matrices = sparsify(model, text, half(criterion, model.layer_count()), *kept);
      EXPECT_EQ(std::ssize(matrices), matrix_count(model.config()));
      for (const PrunedMatrix& matrix : matrices)
        EXPECT_NEAR(static_cast<double>(matrix.zeros), 0.5 * static_cast<double>(matrix.weights),
                    2 + 0.02 * static_cast<double>(matrix.weights))
            << role_name(matrix.role) << matrix.expert;
      EXPECT_TRUE(torch::isfinite(forward_logits(model.changed(PrunedStore::change(kept)), pico_ids(1, 9, 60)))
                      .all()
                      .item<bool>());
    }
  }
}

// Of the first layer's experts, by hand: each reads the normed states of the tokens that the router sends it.
TEST(SparsifyExperts, WandaGoesByTheTokensOfEach) {
  const torch::NoGradGuard no_grad;
  for (const char* family : {"qwen3_moe", "llama4_text"}) {
    SCOPED_TRACE(family);
    const TemporaryDirectory folder;
    const Model model = pico_model(family_named(family), {}, {.dtype = torch::kFloat});
    const TokenBatches text = pico_text(model, 6, 20);
    const auto kept = std::make_shared<PrunedStore>(folder.path(), "run");
    sparsify(model, text, half(Criterion::wanda, 4), *kept);

    const LayerWeights layer = model.layer(0);
    const ExpertsConfig& experts = *layer.config.mlp->experts;
    const auto ids = pico_ids(6, 20, model.config().vocab);
    const auto read =
        mlp_parts(model.config(), layer, model.embed(ids), rope_positions(model.config(), 0, 20, torch::kCPU))
            .normed.flatten(0, 1);
    const Routing routing = route(experts, layer.at(Role::router), read);
    for (std::int64_t expert = 0; expert < experts.count; ++expert) {
      const auto chosen = routing.expert.eq(expert);  // [tokens, active]
      const auto tokens = chosen.any(1).nonzero().squeeze(1);
      auto own = read.index_select(0, tokens);
      if (experts.scales_input) own = own * routing.share.masked_select(chosen).unsqueeze(1);
      const auto sizes = own.square().sum(0).sqrt();
      const Role role = experts.stacked ? Role::stacked_gate_up : Role::up;
      auto expected = experts.stacked ? layer.at(role).weight[expert].t().contiguous()
                                      : at(layer.experts[static_cast<std::size_t>(expert)], role).weight.clone();
      if (!tokens.numel()) continue;
      zero_smallest_of_rows(expected, sizes, 0.5);
      const PrunedMatrices pruned = kept->layer(0);
      const auto found = experts.stacked ? pruned.at({role})[expert].t() : pruned.at({role, expert});
      EXPECT_TRUE(torch::equal(found, expected)) << expert;
    }
  }
}

TEST(SparsifyExperts, AreWrittenAndReadAgain) {
  const torch::NoGradGuard no_grad;
  for (const char* family : {"qwen2_moe", "mixtral", "llama4_text"}) {
    SCOPED_TRACE(family);
    const TemporaryDirectory folder;
    const Model model = pico_model(family_named(family), {}, {.dtype = torch::kFloat});
    const auto kept = std::make_shared<PrunedStore>(folder.path(), "run");
    const auto matrices = sparsify(model, pico_text(model, 6, 20), half(Criterion::wanda, 4), *kept);
    const Model pruned = model.changed(PrunedStore::change(kept));
    apply_plan(pruned, keep_all(4), {}, folder.path() / "out", {.repeatable = false});
    const Model written = Model::open(Checkpoint::open(folder.path() / "out"), {.dtype = torch::kFloat});
    std::int64_t zeros = 0, counted = 0;
    for (const PrunedMatrix& matrix : matrices) counted += matrix.zeros;
    for (std::int64_t layer = 0; layer < 4; ++layer)
      for (const MatrixPlace& place :
           matrix_places(model.config().layers[static_cast<std::size_t>(layer)], model.config())) {
        const auto stored = written.stored_matrix(layer, place.role, place.expert);
        EXPECT_TRUE(torch::equal(stored, kept->layer(layer).at(place))) << layer << role_name(place.role);
        zeros += stored.numel() - stored.count_nonzero().item<std::int64_t>();
      }
    EXPECT_EQ(zeros, counted);
    const auto router = written.stored_matrix(0, Role::router);
    EXPECT_TRUE(torch::equal(router, model.stored_matrix(0, Role::router)));
  }
}

// 52 tokens over four experts, two a token: some see fewer than the 32 columns of their first matrices.
TEST(SparsifyExperts, GiveWayToWandaWhereTheTextIsTooShortForAGramMatrix) {
  const TemporaryDirectory folder;
  const Model model = pico_model(family_named("qwen3_moe"), {}, {.dtype = torch::kFloat});
  const TokenBatches text = pico_text(model, 2, 26);
  PrunedStore store(folder.path(), "run");
  const auto matrices = sparsify(model, text, half(Criterion::sparse_gpt, 4), store);
  std::int64_t few = 0, enough = 0;
  for (const PrunedMatrix& matrix : matrices) {
    if (matrix.expert < 0) {
      EXPECT_EQ(matrix.by, Criterion::sparse_gpt);
    } else if (matrix.by == Criterion::wanda) {
      ++few;
      EXPECT_LT(matrix.tokens, matrix.columns);
      EXPECT_GT(matrix.tokens, 0);
    } else if (matrix.by == Criterion::sparse_gpt) {
      ++enough;
    }
  }
  EXPECT_GT(few, 0);
  EXPECT_GT(enough, 0);
  // What an interrupted run knew it still says.
  const auto again = sparsify(model, text, half(Criterion::sparse_gpt, 4), store);
  ASSERT_EQ(again.size(), matrices.size());
  for (std::size_t i = 0; i < again.size(); ++i) {
    EXPECT_EQ(again[i].by, matrices[i].by);
    EXPECT_EQ(again[i].tokens, matrices[i].tokens);
  }
}

// One token over and over has the same two experts in every place of a layer; of the others nothing is known.
TEST(SparsifyExperts, ThatNoTokenIsSentToLoseTheSmallestOfEachRow) {
  const TemporaryDirectory folder;
  const Model model = pico_model(family_named("qwen3_moe"), {}, {.dtype = torch::kFloat});
  TokenBatches text;
  text.source = text.digest = "one token";
  for (int i = 0; i < 4; ++i) text.sequences.emplace_back(20, 7);
  PrunedStore store(folder.path(), "run");
  std::int64_t unseen = 0;
  for (const PrunedMatrix& matrix : sparsify(model, text, half(Criterion::wanda, 4), store)) {
    if (matrix.by == Criterion::wanda) continue;
    ++unseen;
    EXPECT_EQ(matrix.by, Criterion::magnitude);
    EXPECT_EQ(matrix.tokens, 0);
    auto expected = model.stored_matrix(matrix.layer, matrix.role, matrix.expert).clone();
    zero_smallest_of_rows(expected, torch::ones({expected.size(1)}), 0.5);
    EXPECT_TRUE(torch::equal(store.layer(matrix.layer).at({matrix.role, matrix.expert}), expected));
  }
  EXPECT_EQ(unseen, 3 * 2 * 3);  // layers with experts, experts, matrices
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
    for (const auto& [place, matrix] : again->layer(layer))
      EXPECT_TRUE(torch::equal(matrix, before[static_cast<std::size_t>(layer)].at(place)))
          << layer << role_name(place.role);
  EXPECT_ERROR(sparsify(model_, text_, half(Criterion::wanda, 4), *store("another")), mismatch,
               "the state of another run");
}

// Where weights only go, files may say which stay; tensors that lie turned and those of all experts among them.
TEST_F(Sparsify, FilesOfBitsGiveTheSameMatrices) {
  for (const char* family : {"llama", "gpt2", "llama4_text"}) {
    SCOPED_TRACE(family);
    const Model model = pico_model(family_named(family), {}, {.dtype = torch::kFloat});
    const TokenBatches text = pico_text(model, 6, 20);
    const TemporaryDirectory whole_folder, bits_folder;
    PrunedStore whole(whole_folder.path(), "run");
    const auto bits = [&] {
      return PrunedStore(bits_folder.path(), "run", Durable::with_directory,
                         unpruned_matrices(model, Criterion::wanda));
    };
    const auto matrices = sparsify(model, text, half(Criterion::wanda, 4), whole);
    PrunedStore written = bits();
    sparsify(model, text, half(Criterion::wanda, 4), written);
    const PrunedStore read = bits();
    std::int64_t zeros = 0;
    for (std::int64_t layer = 0; layer < 4; ++layer) {
      const PrunedMatrices expected = whole.layer(layer), found = read.layer(layer);
      ASSERT_EQ(found.size(), expected.size());
      for (const auto& [place, matrix] : expected) {
        EXPECT_TRUE(torch::equal(found.at(place), matrix)) << layer << role_name(place.role);
        zeros += count_zeros(found.at(place));
      }
      const std::string name = "layer-" + std::to_string(layer) + ".safetensors";
      EXPECT_LT(5 * file_size(bits_folder.path() / name), file_size(whole_folder.path() / name));
    }
    for (const PrunedMatrix& matrix : matrices) zeros -= matrix.zeros;
    EXPECT_EQ(zeros, 0);
    const PrunedStore wrong(whole_folder.path(), "run", Durable::now, unpruned_matrices(model, Criterion::wanda));
    EXPECT_ERROR(wrong.has(0), format, "does not say which weights of the matrix stay");
  }
  EXPECT_FALSE(unpruned_matrices(model_, Criterion::sparse_gpt));
}

TEST_F(Sparsify, NothingGoesAtARatioOfZero) {
  const auto kept = store();
  SparsifyOptions options = half(Criterion::sparse_gpt, 4);
  options.ratios = {0, 0, 0, 0};
  sparsify(model_, text_, options, *kept);
  for (const auto& [place, matrix] : kept->layer(1))
    EXPECT_TRUE(torch::equal(matrix, model_.layer(1).at(place.role).weight));
}

TEST_F(Sparsify, TooLittleTextForAGramMatrixSaysHowMuchItTakes) {
  EXPECT_ERROR(sparsify(model_, pico_text(model_, 2, 20), half(Criterion::sparse_gpt, 4), *store()), usage,
               "40 tokens are too few for the Gram matrix of 48 columns; it takes at least 48");
  TokenBatches behind_bos = pico_text(model_, 3, 16);  // 48, of which 3 are BOS
  behind_bos.skip_first = 1;
  EXPECT_ERROR(sparsify(model_, behind_bos, half(Criterion::sparse_gpt, 4), *store()), usage, "45 tokens are too few");
  EXPECT_ERROR(parse_criterion("random"), usage, "magnitude, wanda, sparsegpt");
}

}  // namespace
}  // namespace streamline::sparse
