// SPDX-License-Identifier: Apache-2.0
// Plans carried out on GGUF files: bytes of what stays, metadata, trained layers, and what is refused.
#include "streamline/surgery/apply_gguf.h"

#include "streamline/arch/open_checkpoint.h"
#include "streamline/heal/replacement.h"
#include "streamline/io/gguf_writer.h"
#include "streamline/surgery/export_gguf.h"
#include "support/core/pico_gguf.h"
#include "support/torch/layers.h"
#include "support/torch/pico.h"
#include "support/torch/reference.h"
#include "surgery/written.h"

namespace streamline::test {
namespace {

namespace fs = std::filesystem;

class GgufApply : public testing::Test {
 protected:
  // A GGUF file of a pico model, and the model that it holds.
  Model gguf(const std::string& family, DType type = DType::q8_0, Json extra = Json::object(),
             std::int64_t layers = 6) {
    const Model source = pico_model(family_named(family), {.layers = layers, .head_dim = 8, .extra = std::move(extra)});
    export_gguf(source, path("source.gguf"), {.type = type});
    return Model::open(open_checkpoint(path("source.gguf")), {.dtype = torch::kFloat});
  }
  Model opened(const std::string& name) { return Model::open(open_checkpoint(path(name)), {.dtype = torch::kFloat}); }
  fs::path path(const std::string& name) const { return directory_.path() / name; }

  TemporaryDirectory directory_;
};

std::map<std::string, std::string> tensors_of(const fs::path& file) {
  const Blob blob = map_file(file);
  std::map<std::string, std::string> tensors;
  for (const TensorInfo& tensor : parse_gguf(blob.bytes, file.string()).tensors) {
    const auto bytes = blob.bytes.subspan(tensor.offset, tensor.size);
    tensors[tensor.name] =
        std::string(dtype_name(tensor.dtype)) + std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return tensors;
}

// Experts in every second layer, heads that do not turn in every fourth.
TEST_F(GgufApply, KeepsTheOrderOfSparseLayers) {
  const Json extra = {{"attention_chunk_size", 8192},   {"floor_scale", 8192},   {"attn_scale", 0.1},
                      {"interleave_moe_layer_step", 2}, {"moe_layers", nullptr}, {"no_rope_layers", nullptr}};
  const Model source = gguf("llama4_text", DType::f16, extra, 8);
  const AppliedPlan applied = apply_plan(source, drop_layers(8, {1, 2, 3, 4}), {}, path("cut.gguf"), {});
  EXPECT_EQ(applied.largest_logit_difference, 0);
  EXPECT_EQ(opened("cut.gguf").layer_count(), 4);
  EXPECT_ERROR(apply_plan(source, drop_layers(8, {1, 2}), {}, path("other.gguf"), {}), unsupported,
               "llama.cpp's 'llama4' leaves out every fourth layer");
  EXPECT_ERROR(apply_plan(source, drop_layers(8, {1}), {}, path("other.gguf"), {}), unsupported,
               "llama.cpp's 'llama4'");
}

TEST_F(GgufApply, KeepsTheBytesOfWhatStays) {
  const Model source = gguf("llama");
  const Plan plan = drop_layers(6, {1, 2});
  const AppliedPlan applied = apply_plan(source, plan, {}, path("cut.gguf"), {});
  EXPECT_EQ(applied.layers, 4);
  EXPECT_EQ(applied.largest_logit_difference, 0);
  EXPECT_EQ(applied.parameters, source.view(plan, {}).parameters());
  const auto before = tensors_of(path("source.gguf"));
  const auto after = tensors_of(path("cut.gguf"));
  EXPECT_EQ(after.size(), before.size() - 2 * 9);
  const std::int64_t kept[] = {0, 3, 4, 5};
  for (const auto& [name, bytes] : after) {
    std::string from = name;
    if (name.starts_with("blk.")) from = "blk." + std::to_string(kept[name[4] - '0']) + name.substr(5);
    EXPECT_EQ(bytes, before.at(from)) << name;
  }
  const torch::Tensor ids = pico_ids(2, 20, source.config().vocab);
  EXPECT_TRUE(torch::equal(forward_logits(opened("cut.gguf"), ids), forward_logits(source.view(plan, {}), ids)));
}

TEST_F(GgufApply, WritesThePlanBesideTheFileAndRepeatsIt) {
  const Model source = gguf("llama");
  apply_plan(source, drop_layers(6, {4}), {}, path("cut.gguf"), {});
  EXPECT_TRUE(fs::exists(path("cut.plan.json")));
  const auto [plan, replacements] = read_plan_bundle(path("cut.plan.json"), source);
  apply_plan(source, plan, replacements, path("again.gguf"), {});
  EXPECT_EQ(read_text(path("again.gguf")), read_text(path("cut.gguf")));
}

TEST_F(GgufApply, FoldsTrainedLayersInAStorableType) {
  const torch::NoGradGuard no_grad;
  for (const char* name : {"layer", "swiglu-residual"}) {
    SCOPED_TRACE(name);
    fs::remove(path("source.gguf"));
    const Model source = gguf("llama");
    const Plan plan = cut_window(6, 2, 2, name);
    const LayerConfig shape = find_replacement(name).shape(source.config(), 2);
    const Replacements trained = {{1, as_stored(random_layer(source.config(), shape, 5), source.config())}};
    const std::string file = std::string(name) + ".gguf";
    const AppliedPlan applied = apply_plan(source, plan, trained, path(file), {});
    EXPECT_EQ(applied.layers, 5);
    EXPECT_TRUE(std::any_of(applied.notes.begin(), applied.notes.end(), [](const std::string& note) {
      return note.find("layer 2 was trained; its matrices are stored as F16") != std::string::npos;
    }));
    const auto tensors = tensors_of(path(file));
    EXPECT_TRUE(tensors.at("blk.2.attn_q.weight").starts_with("F16"));
    EXPECT_TRUE(tensors.at("blk.2.attn_norm.weight").starts_with("F32"));
    EXPECT_TRUE(tensors.at("blk.3.ffn_down.weight").starts_with("F16"));  // 48 columns are no whole blocks
    const torch::Tensor ids = pico_ids(2, 20, source.config().vocab);
    const Model view = source.view(plan, trained);
    EXPECT_LT(relative_difference(forward_logits(opened(file), ids), forward_logits(view, ids)), 1e-5);
    EXPECT_TRUE(fs::exists(path(std::string(name) + ".replacement.safetensors")));
    const auto [again, weights] = read_plan_bundle(path(std::string(name) + ".plan.json"), source);
    apply_plan(source, again, weights, path("again-" + file), {});
    EXPECT_EQ(read_text(path("again-" + file)), read_text(path(file)));
  }
}

TEST_F(GgufApply, KeepsThePeriodOfTheLayersThatSlide) {
  const Model source = gguf("gemma3_text", DType::f16, {{"sliding_window", 5}, {"sliding_window_pattern", 6}},
                            12);  // every sixth layer is global
  EXPECT_ERROR(apply_plan(source, drop_layers(12, {1, 2}), {}, path("cut.gguf"), {}), unsupported,
               "layer 3 has no window; llama.cpp's 'gemma3' counts on one layer without after every 5 with one");
  // The same of a plan by itself, whose replacements have no weights yet.
  EXPECT_ERROR(check_gguf_cut(source, drop_layers(12, {1, 2})), unsupported,
               "source.gguf: a GGUF file cannot hold what this cut leaves: layer 3 has no window");
  EXPECT_ERROR(check_gguf_cut(source, cut_window(12, 2, 6, "layer")), unsupported, "layer 5 has a window");
  EXPECT_NO_THROW(check_gguf_cut(source, cut_window(12, 2, 7, "layer")));
  EXPECT_NO_THROW(check_gguf_cut(source, keep_all(12)));
  const Plan plan = drop_layers(12, {2, 3, 4, 5, 6, 7});
  EXPECT_NO_THROW(check_gguf_cut(source, plan));
  apply_plan(source, plan, {}, path("cut.gguf"), {});
  const torch::Tensor ids = pico_ids(2, 20, source.config().vocab);
  EXPECT_LT(relative_difference(forward_logits(opened("cut.gguf"), ids), forward_logits(source.view(plan, {}), ids)),
            1e-6);
}

TEST_F(GgufApply, CutsTheListOfTheLayersThatSlide) {
  gguf("gemma3_text", DType::f16, {{"sliding_window", 5}, {"sliding_window_pattern", 6}});
  const Blob blob = map_file(path("source.gguf"));
  const Gguf whole = parse_gguf(blob.bytes, "source.gguf");
  GgufFields fields;
  for (const GgufEntry& entry : whole.metadata) fields.copy(entry);
  fields.booleans("gemma3.attention.sliding_window_pattern", {true, false, true, true, false, true});
  std::vector<GgufTensor> tensors;
  for (const TensorInfo& tensor : whole.tensors) {
    const auto bytes = blob.bytes.subspan(tensor.offset, tensor.size);
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape, [bytes](const ByteSink& sink) { sink(bytes); }});
  }
  OutputFile file(path("listed.gguf"));
  write_gguf(file, fields, tensors);
  file.commit();
  apply_plan(opened("listed.gguf"), drop_layers(6, {1, 2}), {}, path("cut.gguf"), {});
  const Blob cut = map_file(path("cut.gguf"));
  EXPECT_EQ(parse_gguf(cut.bytes, "cut.gguf").integers("gemma3.attention.sliding_window_pattern"),
            (std::vector<std::int64_t>{1, 1, 0, 1}));
}

TEST_F(GgufApply, PacksHalvesThatFindAPartner) {
  const Model source = gguf("llama");
  Plan plan = keep_all(6);
  plan.segments = {{.first = 0, .last = 0, .action = Action::keep},
                   {.first = 1, .last = 1, .action = Action::drop_mlp},
                   {.first = 2, .last = 2, .action = Action::drop_attention},
                   {.first = 3, .last = 5, .action = Action::keep}};
  EXPECT_EQ(apply_plan(source, plan, {}, path("cut.gguf"), {}).layers, 5);
  const auto before = tensors_of(path("source.gguf")), after = tensors_of(path("cut.gguf"));
  EXPECT_EQ(after.at("blk.1.attn_q.weight"), before.at("blk.1.attn_q.weight"));
  EXPECT_EQ(after.at("blk.1.ffn_norm.weight"), before.at("blk.2.ffn_norm.weight"));
  EXPECT_EQ(after.at("blk.1.ffn_up.weight"), before.at("blk.2.ffn_up.weight"));
  plan.segments[2].action = Action::keep;
  EXPECT_ERROR(apply_plan(source, plan, {}, path("half.gguf"), {}), unsupported,
               "the half that is left of layer 1 has no partner");
  EXPECT_ERROR(check_gguf_halves(source.config(), plan), unsupported, "the half that is left of layer 1");
}

TEST_F(GgufApply, AHalfOfOneKindFindsNoPartner) {
  EXPECT_ERROR(check_gguf_halves(true, false), unsupported, "lose their attention alone");
  EXPECT_ERROR(check_gguf_halves(false, true), unsupported, "lose their MLP alone");
  EXPECT_NO_THROW(check_gguf_halves(true, true));  // each may take the other's place
  EXPECT_NO_THROW(check_gguf_halves(false, false));
}

// Of every second channel and, where asked for, the second group of heads.
Plan narrow_plan(const Config& config, bool heads) {
  Plan plan = keep_all(config.layer_count());
  for (std::int64_t i = 0; i < config.layer_count(); ++i) {
    const LayerConfig& layer = config.layers[static_cast<std::size_t>(i)];
    LayerSlice slice;
    if (heads && layer.attention->qk_norm != QkNorm::whole)
      slice.kv_heads = KeptUnits{layer.attention->kv_heads, {layer.attention->kv_heads - 1}};
    KeptUnits channels{.of = layer.mlp->intermediate};
    for (std::int64_t channel = 1; channel < channels.of; channel += 2) channels.kept.push_back(channel);
    slice.channels = {channels};
    plan.slices[i] = slice;
  }
  return plan;
}

TEST_F(GgufApply, SlicesPlainNumbersOfEveryFamily) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor ids = pico_ids(2, 19, 32);
  int sliced = 0;
  for (const Family* family : families()) {
    if (!has_pico_gguf(*family)) continue;
    SCOPED_TRACE(family->name);
    const Model source = Model::open(open_pico_gguf(pico_gguf(gguf_pico_config(*family))), {.dtype = torch::kFloat});
    try {
      apply_plan(source, keep_all(source.layer_count()), {}, path("whole.gguf"), {.overwrite = Overwrite::yes});
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::unsupported) throw;
      continue;  // nothing of this model can be written
    }
    ++sliced;
    const bool heads = !family->gguf.square_attention;
    const Plan plan = narrow_plan(source.config(), heads);
    check_gguf_slices(source, heads, true);
    if (!heads) EXPECT_ERROR(check_gguf_slices(source, true, true), unsupported, "takes for granted");
    apply_plan(source, plan, {}, path("narrow.gguf"), {.overwrite = Overwrite::yes});
    const Model written = opened("narrow.gguf");
    EXPECT_EQ(written.config().layers[0].mlp->intermediate, source.config().layers[0].mlp->intermediate / 2);
    EXPECT_LT(relative_difference(forward_logits(written, ids), forward_logits(source.view(plan, {}), ids)), 1e-5);
  }
  EXPECT_GT(sliced, 3);
}

TEST_F(GgufApply, PadsNarrowerLayers) {
  const torch::NoGradGuard no_grad;
  const Model source = gguf("llama", DType::f16);
  Plan plan = keep_all(6);
  plan.slices[1].channels = {KeptUnits{48, {0, 2, 5, 11, 40}}};
  plan.slices[3].kv_heads = KeptUnits{2, {1}};
  const AppliedPlan applied = apply_plan(source, plan, {}, path("cut.gguf"), {});
  EXPECT_TRUE(std::ranges::any_of(
      applied.notes, [](const std::string& note) { return note.find("are written as padding") != std::string::npos; }));
  const Model written = opened("cut.gguf");
  EXPECT_EQ(written.config().layers[3].attention->kv_heads, 2);
  const torch::Tensor ids = pico_ids(2, 20, source.config().vocab);
  EXPECT_LT(relative_difference(forward_logits(written, ids), forward_logits(source.view(plan, {}), ids)), 1e-5);
}

// Groups of heads are 32 columns wide here, one block of Q8_0.
TEST_F(GgufApply, KeepsTheBytesOfWholeBlocks) {
  const torch::NoGradGuard no_grad;
  const Model model = pico_model(family_named("llama"), {.layers = 2, .head_dim = 16, .intermediate = 64});
  export_gguf(model, path("source.gguf"), {.type = DType::q8_0});
  const Model source = opened("source.gguf");
  Plan plan = keep_all(2);
  KeptUnits upper{.of = 64};
  for (std::int64_t channel = 32; channel < 64; ++channel) upper.kept.push_back(channel);
  for (const std::int64_t layer : {0, 1}) plan.slices[layer] = {.kv_heads = KeptUnits{2, {1}}, .channels = {upper}};
  apply_plan(source, plan, {}, path("cut.gguf"), {});
  const auto before = tensors_of(path("source.gguf")), after = tensors_of(path("cut.gguf"));
  const std::size_t type = std::string("Q8_0").size(), block = 34;
  const std::string &q = before.at("blk.1.attn_q.weight"), &down = before.at("blk.1.ffn_down.weight");
  EXPECT_EQ(after.at("blk.1.attn_q.weight").substr(type), q.substr(type + (q.size() - type) / 2));
  for (std::size_t row = 0; row < 32; ++row)
    EXPECT_EQ(after.at("blk.1.ffn_down.weight").substr(type + row * block, block),
              down.substr(type + row * 2 * block + block, block));
  const Model written = opened("cut.gguf");
  EXPECT_EQ(written.config().layers[1].attention->heads, 2);
  EXPECT_EQ(written.config().layers[1].attention->head_dim, 16);
  const torch::Tensor ids = pico_ids(2, 20, source.config().vocab);
  EXPECT_LT(relative_difference(forward_logits(written, ids), forward_logits(source.view(plan, {}), ids)), 1e-5);

  check_gguf_slices(source, /*heads=*/true, /*channels=*/false);
  EXPECT_ERROR(check_gguf_slices(source, true, true), unsupported, "layer 0: channels lie in blocks of 32 (Q8_0)");
  upper.kept.front() = 0;
  plan.slices[0].channels = {upper};
  EXPECT_ERROR(apply_plan(source, plan, {}, path("other.gguf"), {}), unsupported,
               "blk.0.ffn_down.weight: what stays of its columns is no whole blocks of 32 (Q8_0)");
  EXPECT_FALSE(fs::exists(path("other.gguf")));
}

TEST_F(GgufApply, RefusesSlicesThatItCannotHold) {
  EXPECT_ERROR(check_gguf_slices(gguf("llama"), true, false), unsupported,
               "a group of heads has 16 columns, which are no whole blocks of 32 (Q8_0)");
  EXPECT_ERROR(check_gguf_slices(pico_model(family_named("mixtral"), {}), false, true), unsupported,
               "layer 0 has experts, whose channels lie in one tensor of a GGUF file; slice heads alone, or apply");
}

TEST_F(GgufApply, RefusesWhatCannotBeSaid) {
  const Model source = gguf("llama");
  EXPECT_ERROR(apply_plan(source, drop_layers(6, {1}), {}, path("cut"), {}), usage,
               "the result of a GGUF file is one too; its name must end in .gguf");
  EXPECT_ERROR(apply_plan(source, drop_layers(6, {1}), {}, path("source.gguf"), {.overwrite = Overwrite::yes}), usage,
               "the target is the source; choose another name");
  EXPECT_ERROR(check_gguf_replacement(source.config(), find_replacement("ffn").shape(source.config(), 0), 0),
               unsupported, "no layer that llama.cpp's 'llama' computes; choose another replacement");
  write_text(path("there.gguf"), "mine");
  EXPECT_ERROR(apply_plan(source, drop_layers(6, {1}), {}, path("there.gguf"), {}), io, "already exists");
  EXPECT_EQ(read_text(path("there.gguf")), "mine");
  const Model directory = pico_model(family_named("llama"), {});
  EXPECT_ERROR(apply_plan(directory, drop_layers(4, {1}), {}, path("x.gguf"), {}), usage,
               "the result of a Hugging Face checkpoint is a directory; `streamline export` makes a GGUF file of it");
}

TEST_F(GgufApply, RefusesACutThatLlamaCppWouldComputeOtherwise) {
  const Model source = gguf("smollm3", DType::f16, {{"no_rope_layers", {1, 1, 1, 0, 1, 1}}});
  EXPECT_ERROR(apply_plan(source, drop_layers(6, {1}), {}, path("cut.gguf"), {}), unsupported,
               "layer 2 does not turn its heads; llama.cpp's 'smollm3' leaves out every fourth layer");
  EXPECT_FALSE(fs::exists(path("cut.gguf")));
  apply_plan(source, drop_layers(6, {4, 5}), {}, path("cut.gguf"), {});  // after the whole period
}

TEST_F(GgufApply, JoinsASplitSource) {
  const Model source = gguf("llama");
  const Blob blob = map_file(path("source.gguf"));
  const Gguf whole = parse_gguf(blob.bytes, "source.gguf");
  for (int part = 0; part < 2; ++part) {
    GgufFields fields;
    if (part == 0)
      for (const GgufEntry& entry : whole.metadata) fields.copy(entry);
    fields.u16("split.no", static_cast<std::uint16_t>(part));
    fields.u16("split.count", 2);
    fields.i32("split.tensors.count", static_cast<std::int32_t>(whole.tensors.size()));
    std::vector<GgufTensor> tensors;
    for (std::size_t i = 0; i < whole.tensors.size(); ++i)
      if (static_cast<int>(i % 2) == part) {
        const TensorInfo& tensor = whole.tensors[i];
        const auto bytes = blob.bytes.subspan(tensor.offset, tensor.size);
        tensors.push_back({tensor.name, tensor.dtype, tensor.shape, [bytes](const ByteSink& sink) { sink(bytes); }});
      }
    OutputFile file(path("parts-0000" + std::to_string(part + 1) + "-of-00002.gguf"));
    write_gguf(file, fields, tensors);
    file.commit();
  }
  const Model split = opened("parts-00001-of-00002.gguf");
  apply_plan(split, drop_layers(6, {3}), {}, path("joined.gguf"), {});
  apply_plan(source, drop_layers(6, {3}), {}, path("cut.gguf"), {});
  EXPECT_EQ(tensors_of(path("joined.gguf")), tensors_of(path("cut.gguf")));
  const Blob joined = map_file(path("joined.gguf"));
  EXPECT_EQ(parse_gguf(joined.bytes, "joined.gguf").find("split.count"), nullptr);
}

}  // namespace
}  // namespace streamline::test
