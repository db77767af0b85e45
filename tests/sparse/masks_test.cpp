// SPDX-License-Identifier: Apache-2.0
// Masks of what sparsify() keeps make the model that it makes.
#include "streamline/engine/masking.h"
#include "streamline/sparse/sparsify.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"
#include "support/torch/pico.h"

namespace streamline::sparse {
namespace {

// Tensors that lie turned, those of one expert and of all experts among them.
TEST(MasksOf, MakeTheModelThatWasPruned) {
  for (const char* family : {"llama", "gpt2", "qwen3_moe", "llama4_text"}) {
    SCOPED_TRACE(family);
    const test::TemporaryDirectory folder;
    const Model model = test::pico_model(test::family_named(family), {.dtype = DType::bf16}, {.dtype = torch::kFloat});
    const auto store = std::make_shared<PrunedStore>(folder.path(), "run", Durable::with_directory,
                                                     unpruned_matrices(model, Criterion::magnitude));
    const SparsifyOptions half{.criterion = Criterion::magnitude,
                               .ratios = std::vector<double>(static_cast<std::size_t>(model.layer_count()), 0.5)};
    sparsify(model, {}, half, *store);
    const auto path = folder.path() / "masks.safetensors";
    const std::string digest = write_masks(path, masks_of(model, store));
    const Model masked =
        model.changed(masking(model, std::make_shared<const MasksFile>(MasksFile::open(path, digest))));
    const Model pruned = model.changed(PrunedStore::change(store));
    std::int64_t zeros = 0;
    for (std::int64_t layer = 0; layer < model.layer_count(); ++layer)
      for (const MatrixPlace& place :
           matrix_places(model.config().layers[static_cast<std::size_t>(layer)], model.config())) {
        const torch::Tensor matrix = masked.stored_matrix(layer, place.role, place.expert);
        EXPECT_TRUE(torch::equal(matrix, pruned.stored_matrix(layer, place.role, place.expert)))
            << layer << role_name(place.role) << place.expert;
        zeros += matrix.eq(0).sum().item<std::int64_t>();
      }
    EXPECT_GT(zeros, 0);
  }
}

}  // namespace
}  // namespace streamline::sparse
