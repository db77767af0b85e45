// SPDX-License-Identifier: Apache-2.0
// LoRA adapters as task vectors; L8 is a check of the specification of LiNeS.
#include "streamline/merge/adapter_source.h"

#include "merge/small_models.h"
#include "streamline/heal/peft_files.h"
#include "support/core/temporary_directory.h"
#include "support/torch/pico.h"

namespace streamline::test {
namespace {

// Of q and down in every layer.
Adapters some_adapters(const Model& model, std::uint64_t seed) {
  Rng rng(seed);
  Adapters adapters = initial_adapters(model, {.rank = 3, .alpha = 6, .roles = {Role::q, Role::down}}, rng);
  for (Adapter& adapter : adapters.list) adapter.b = random_tensor(adapter.b.sizes().vec(), ++seed, 0.1);
  return adapters;
}

// In a family that stores [out, in] and in one that does not.
TEST(AdapterSource, L8ScaledByDepthIsAnAdapterWithBScaled) {
  for (const char* family : {"llama", "gpt2"}) {
    SCOPED_TRACE(family);
    const TemporaryDirectory directory;
    const Json config = pico_config(family);
    merge::Source base = pico_source("base", config, 1);
    const Model model = Model::open(base.checkpoint, {});
    Adapters adapters = some_adapters(model, 2);
    write_peft(directory.path(), adapters, model, "base");
    EXPECT_TRUE(merge::is_adapter(directory.path()));
    merge::MergePlan plan =
        merge::plan_merge(request_on_first("sum", {base, merge::adapter_source("lora", base, directory.path())}));
    const merge::Lines lines{.alpha = 0.2, .beta = 0.7};
    scale_by_depth(plan, lines);

    for (Adapter& adapter : adapters.list) adapter.b *= depth_factor(lines, adapter.layer, 4);
    const Model scaled = model.changed(merging(adapters));
    std::int64_t compared = 0;
    for (const Adapter& adapter : adapters.list)
      for (const merge::TensorMerge& tensor : plan.tensors) {
        const TensorInfo& info =
            *find_tensor(*base.checkpoint, model.config(), adapter.layer, adapter.role, Part::weight);
        if (tensor.header.name != info.name) continue;
        const std::vector<float> values = floats(merged_bytes(tensor));
        auto expected = scaled.stored_matrix(adapter.layer, adapter.role);
        if (is_transposed(model.config(), adapter.layer, adapter.role, Part::weight)) expected = expected.t();
        const auto ours = torch::tensor(values).view(expected.sizes());
        EXPECT_LT(((ours - expected).abs().max() / expected.abs().max()).item<double>(), 1e-6) << info.name;
        ++compared;
      }
    EXPECT_EQ(compared, static_cast<std::int64_t>(adapters.list.size()));
    for (const merge::TensorMerge& tensor : plan.tensors) {  // what has no adapter stays as it is
      if (tensor.operands[0].stored.update) continue;
      EXPECT_TRUE(std::ranges::equal(merged_bytes(tensor).bytes, base.checkpoint->bytes(*tensor.base.tensor)));
    }
  }
}

}  // namespace
}  // namespace streamline::test
