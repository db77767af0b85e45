// SPDX-License-Identifier: Apache-2.0
// Plans that mask single weights: carried out, seen as a view, put together with cuts, and refused where something does
// not belong together.
#include "streamline/engine/decoder.h"
#include "streamline/engine/mapped.h"
#include "streamline/engine/masking.h"
#include "streamline/nn/kept_bits.h"
#include "streamline/nn/tensor_bytes.h"
#include "streamline/surgery/merge_files.h"
#include "support/core/tensor_files.h"
#include "surgery/written.h"

namespace streamline::test {
namespace {

namespace fs = std::filesystem;

// Two of three weights in turn, 1 or 0, in the shape of a tensor.
torch::Tensor kept_in_turn(const std::vector<std::int64_t>& shape, std::int64_t shift) {
  std::int64_t elements = 1;
  for (const std::int64_t size : shape) elements *= size;
  return (torch::arange(elements) + shift).remainder(3).ne(0).to(torch::kFloat).view(shape);
}

MaskSource mask_in_turn(Mask mask, std::int64_t shift) {
  return {mask, [mask, shift] {
            const auto bits = std::make_shared<const torch::Tensor>(kept_bits(kept_in_turn(mask.shape, shift)));
            return Blob{bytes_of(*bits), bits};
          }};
}

class Masks : public testing::Test {
 protected:
  Masks() {
    write_files(in_dtype(pico_model(tiny_llama(), 1), DType::bf16, "bfloat16"), path("in"));
    source_.emplace(open_model(path("in")));
  }

  fs::path path(const std::string& name) const { return directory_.path() / name; }

  // Of every matrix of the layers.
  std::vector<MaskSource> masks_of_all(std::int64_t shift) const {
    std::vector<MaskSource> masks;
    for (const TensorInfo& tensor : source_->checkpoint().tensors()) {
      const auto place = parse_layer_tensor(*source_->config().family, tensor.name);
      if (place && tensor.shape.size() == 2)
        masks.push_back(mask_in_turn({tensor.name, place->layer, tensor.shape}, shift));
    }
    return masks;
  }

  fs::path write_plan(const std::string& name, Plan plan, const std::vector<MaskSource>& masks = {}) const {
    const fs::path file = path(name + ".json");
    if (!masks.empty())
      plan.masks = PlanMasks{masks_beside(file).filename().string(), write_masks(masks_beside(file), masks)};
    write_text(file, dump_json(to_json(plan)));
    return file;
  }

  AppliedPlan apply(const fs::path& file, const Model& source, const fs::path& out) const {
    const auto [plan, replacements] = read_plan_bundle(file, source);
    const auto masks = read_plan_masks(file, plan, source);
    return apply_plan(masks ? source.changed(masks) : source, plan, replacements, out, {});
  }

  // The result has the source's tensors, matrices with zeros where one of the shifts has them.
  void expect_masked(const Model& result, const std::vector<std::int64_t>& shifts) const {
    for (const TensorInfo& tensor : source_->checkpoint().tensors()) {
      SCOPED_TRACE(tensor.name);
      const auto place = parse_layer_tensor(*source_->config().family, tensor.name);
      torch::Tensor expected = mapped_tensor(source_->shared_checkpoint(), tensor).clone();
      if (place && tensor.shape.size() == 2)
        for (const std::int64_t shift : shifts) expected.masked_fill_(kept_in_turn(tensor.shape, shift).eq(0), 0);
      EXPECT_TRUE(
          torch::equal(mapped_tensor(result.shared_checkpoint(), result.checkpoint().at(tensor.name)), expected));
    }
  }

  TemporaryDirectory directory_;
  std::optional<Model> source_;
};

TEST_F(Masks, BecomeZerosOfTheResultAndAreKeptBesideIt) {
  const fs::path file = write_plan("masks", keep_all(6), masks_of_all(0));
  apply(file, *source_, path("out"));
  expect_masked(open_model(path("out")), {0});
  apply(path("out"), *source_, path("again"));
  auto first = contents(path("out")), second = contents(path("again"));
  EXPECT_TRUE(first.erase("README.md") == 1 && second.erase("README.md") == 1);
  EXPECT_TRUE(first.contains("streamline/masks.safetensors"));
  EXPECT_EQ(first, second);
}

TEST_F(Masks, ComputeAsAViewWhatIsWritten) {
  const fs::path file = write_plan("masks", drop_layers(6, {4}), masks_of_all(1));
  apply(file, *source_, path("out"));
  const Plan plan = read_plan_bundle(file, *source_).first;
  const Model view = source_->changed(read_plan_masks(file, plan, *source_)).view(plan, {});
  const torch::Tensor ids = some_tokens(256);
  EXPECT_TRUE(torch::equal(forward_logits(view, ids), forward_logits(open_model(path("out")), ids)));
  EXPECT_FALSE(torch::equal(forward_logits(view, ids), forward_logits(source_->view(drop_layers(6, {4}), {}), ids)));
}

// Masks are of the source's weights; what is cut is cut out of these.
TEST_F(Masks, ComeBeforeCutsAndSlices) {
  Plan cut = drop_layers(6, {1});
  for (const std::int64_t layer : {0, 2, 3, 4, 5}) {
    cut.slices[layer].kv_heads = KeptUnits{2, {1}};
    cut.slices[layer].channels = {KeptUnits{176, {}}};
    for (std::int64_t channel = 0; channel < 176; channel += 2) cut.slices[layer].channels[0].kept.push_back(channel);
  }
  apply(write_plan("both", cut, masks_of_all(2)), *source_, path("both"));
  apply(write_plan("masks", keep_all(6), masks_of_all(2)), *source_, path("masked"));
  apply(write_plan("cut", cut), open_model(path("masked")), path("one after the other"));
  const Model expected = open_model(path("one after the other")), result = open_model(path("both"));
  ASSERT_EQ(result.checkpoint().tensors().size(), expected.checkpoint().tensors().size());
  for (const TensorInfo& tensor : expected.checkpoint().tensors())
    EXPECT_EQ(tensor_bytes(result.checkpoint(), tensor.name), tensor_bytes(expected.checkpoint(), tensor.name));
}

TEST_F(Masks, AreNotPassedOver) {
  const fs::path file = write_plan("masks", keep_all(6), masks_of_all(0));
  const Plan plan = read_plan_bundle(file, *source_).first;
  EXPECT_ERROR(source_->view(plan, {}), mismatch, "masks.masks.safetensors, which are not masked in this model");
  EXPECT_ERROR(apply_plan(*source_, plan, {}, path("out"), {}), mismatch, "are not masked in this model");
  EXPECT_FALSE(fs::exists(path("out")));
  const Model masked = source_->changed(read_plan_masks(file, plan, *source_));
  EXPECT_ERROR(PhasedModel(masked, plan, {}, CutIn::decode), usage, "this one masks weights");
  const Plan other = read_plan_bundle(write_plan("other", keep_all(6), masks_of_all(1)), *source_).first;
  EXPECT_ERROR(masked.view(other, {}), mismatch, "other.masks.safetensors, which are not masked");
}

TEST_F(Masks, OfWhatTheSourceHasNotAreRefused) {
  const std::string up = "model.layers.1.mlp.up_proj.weight";
  struct Case {
    const char* message;
    ErrorKind kind;
    Mask mask;
  };
  const std::vector<Case> cases = {
      {"'model.layers.9.mlp.up_proj.weight' is masked, and",
       ErrorKind::mismatch,
       {"model.layers.9.mlp.up_proj.weight", 9, {176, 64}}},
      {"'model.layers.1.mlp.up_proj.weight' is masked as [64,176]", ErrorKind::mismatch, {up, 1, {64, 176}}},
      {"'model.layers.1.mlp.up_proj.weight' is masked as one of layer 2", ErrorKind::mismatch, {up, 2, {176, 64}}},
      {"is no matrix of a decoder layer", ErrorKind::unsupported, {"model.layers.1.input_layernorm.weight", 1, {64}}},
      {"is no matrix of a decoder layer", ErrorKind::unsupported, {"model.embed_tokens.weight", 0, {256, 64}}},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.message);
    const fs::path file = write_plan("bad", keep_all(6), {mask_in_turn(broken.mask, 0)});
    const Plan plan = read_plan_bundle(file, *source_).first;
    try {
      read_plan_masks(file, plan, *source_);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), broken.kind) << error.what();
      EXPECT_THAT(error.what(), testing::HasSubstr(broken.message));
      EXPECT_THAT(error.what(), testing::HasSubstr("bad.masks.safetensors: '" + broken.mask.tensor + "'"));
    }
  }
}

TEST_F(Masks, OfQuantisedMatricesAreRefused) {
  const std::string up = "model.layers.1.mlp.up_proj.weight";
  std::vector<TestTensor> tensors = {filled(up + "_scale", DType::f32, {1})};
  for (const TensorInfo& tensor : source_->checkpoint().tensors())
    tensors.push_back(tensor.name == up ? filled(up, DType::f8_e4m3, tensor.shape)
                                        : TestTensor{{tensor.name, tensor.dtype, tensor.shape},
                                                     tensor_bytes(source_->checkpoint(), tensor.name)});
  write_text(path("in") / "model.safetensors", safetensors_file(tensors));
  const Model quantised = open_model(path("in"));
  const auto read = [&](const std::string& name, const std::string& matrix) {
    const fs::path file =
        write_plan(name, keep_all(6), {mask_in_turn({matrix, 1, source_->checkpoint().at(matrix).shape}, 0)});
    return read_plan_masks(file, read_plan_bundle(file, quantised).first, quantised);
  };
  EXPECT_ERROR(read("bad", up), unsupported, "bad.masks.safetensors: '" + up + "' is stored in a quantised form");
  EXPECT_NE(read("good", "model.layers.1.mlp.gate_proj.weight"), nullptr);
}

TEST_F(Masks, LoseInAMergeWhatAnyPlanTakes) {
  const fs::path one = write_plan("one", keep_all(6), masks_of_all(0)),
                 two = write_plan("two", keep_all(6), masks_of_all(1)), cut = write_plan("cut", drop_layers(6, {1, 3}));
  const Plan masked = merge_plan_files({one, two}, path("masked.json"), Overwrite::no);
  EXPECT_EQ(summary(masked), "kept all 6 layers, single weights masked");
  apply(path("masked.json"), *source_, path("masked"));
  expect_masked(open_model(path("masked")), {0, 1});

  const Plan both = merge_plan_files({cut, path("masked.json")}, path("both.json"), Overwrite::no);
  EXPECT_EQ(summary(both), "dropped layers 1, 3 (of 6), single weights masked");
  const MasksFile written = MasksFile::open(path("both.masks.safetensors"), both.masks->sha256);
  for (const Mask& mask : written.masks()) EXPECT_TRUE(mask.layer != 1 && mask.layer != 3) << mask.tensor;
  apply(path("both.json"), *source_, path("both"));
  expect_same_layer(open_model(path("masked")), 2, open_model(path("both")), 1);

  EXPECT_ERROR(merge_plan_files({cut, one}, path("both.json"), Overwrite::no), io, "both.json: already exists");
  EXPECT_EQ(merge_plan_files({two, one}, path("both.json"), Overwrite::yes).masks->sha256, masked.masks->sha256);
}

TEST_F(Masks, OfLayersThatAllGoMakeNone) {
  const Mask up{"model.layers.1.mlp.up_proj.weight", 1, {176, 64}};
  const fs::path masks = write_plan("masks", keep_all(6), {mask_in_turn(up, 0)});
  const Plan plan =
      merge_plan_files({masks, write_plan("cut", drop_layers(6, {1}))}, path("merged.json"), Overwrite::no);
  EXPECT_FALSE(plan.masks.has_value());
  EXPECT_FALSE(fs::exists(path("merged.masks.safetensors")));
}

TEST_F(Masks, OfAPlanThatIsReplacedGoWithIt) {
  const Mask up{"model.layers.1.mlp.up_proj.weight", 1, {176, 64}};
  const fs::path masks = write_plan("masks", keep_all(6), {mask_in_turn(up, 0)}),
                 cut = write_plan("cut", drop_layers(6, {1}));
  merge_plan_files({masks, masks}, path("merged.json"), Overwrite::no);
  EXPECT_TRUE(fs::exists(path("merged.masks.safetensors")));
  const Plan plan = merge_plan_files({path("merged.json"), cut}, path("merged.json"), Overwrite::yes);
  EXPECT_FALSE(plan.masks.has_value());
  EXPECT_FALSE(fs::exists(path("merged.masks.safetensors")));
  merge_plan_files({masks, cut}, path("masks"), Overwrite::yes);  // masks.masks.safetensors is another plan's
  EXPECT_TRUE(fs::exists(path("masks.masks.safetensors")));
}

TEST_F(Masks, OfLayersThatThePlanHasNotAreNotMerged) {
  for (const std::int64_t layer : {-1, 6}) {
    const fs::path masks = write_plan("masks", keep_all(6), {mask_in_turn({"up", layer, {176, 64}}, 0)});
    EXPECT_ERROR(merge_plan_files({masks, write_plan("cut", drop_layers(6, {1}))}, path("merged.json"), Overwrite::no),
                 mismatch,
                 "masks.masks.safetensors: 'up' is masked as one of layer " + std::to_string(layer) +
                     "; the plan is of 6 layers");
    EXPECT_FALSE(fs::exists(path("merged.json")));
  }
}

TEST_F(Masks, OfTwoModelsAreNotMerged) {
  const Mask up{"model.layers.1.mlp.up_proj.weight", 1, {176, 64}};
  Mask turned = up;
  turned.shape = {64, 176};
  const fs::path one = write_plan("one", keep_all(6), {mask_in_turn(up, 0)}),
                 two = write_plan("two", keep_all(6), {mask_in_turn(turned, 0)});
  EXPECT_ERROR(merge_plan_files({one, two}, path("merged.json"), Overwrite::no), mismatch,
               "masks 'model.layers.1.mlp.up_proj.weight' in another shape or layer");
  EXPECT_FALSE(fs::exists(path("merged.json")));
}

}  // namespace
}  // namespace streamline::test
