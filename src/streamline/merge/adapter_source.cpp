// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/adapter_source.h"

#include <map>

#include "streamline/arch/names.h"
#include "streamline/base/log.h"
#include "streamline/heal/peft_files.h"
#include "streamline/surgery/origin.h"

namespace streamline::merge {
namespace {

// stored: [count, width] rows of W + scale · B A, or of its transpose where the family stores it [in, out].
void add_update(const Adapter& adapter, double scale, bool transposed, std::int64_t first, std::int64_t count,
                std::span<float> rows) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor a = adapter.a, b = adapter.b;  // [rank, in] and [out, rank]
  const torch::Tensor update =
      transposed ? torch::matmul(a.narrow(1, first, count).t(), b.t()) : torch::matmul(b.narrow(0, first, count), a);
  torch::from_blob(rows.data(), update.sizes(), torch::kFloat32).add_(update, scale);
}

// Files that do not tell the weights name the model at least.
void warn_of_another_base(const std::string& adapter, const Checkpoint& base, const std::filesystem::path& directory) {
  const PeftBase said = read_peft_base(directory);
  if (!said.digest.empty() || said.model.empty()) return;
  const std::string own = base_name(model_name(base.label()));
  if (base_name(model_name(said.model)) != own)
    log_warning(adapter + ": says that it was trained on " + said.model + "; it is taken for one of " + own);
}

}  // namespace

bool is_adapter(const std::filesystem::path& directory) {
  std::error_code error;
  return std::filesystem::is_regular_file(directory / "adapter_config.json", error);
}

Source adapter_source(std::string name, const Source& base, const std::filesystem::path& directory,
                      AnyWeights any_weights) {
  const Model model = Model::open(base.checkpoint, {});
  const Adapters adapters = read_peft(directory, model, any_weights);
  if (any_weights == AnyWeights::no) warn_of_another_base(name, *base.checkpoint, directory);
  using ByTensor = std::map<std::string, Adapter>;
  auto by_tensor = std::make_shared<ByTensor>();
  std::map<std::string, bool> transposed;
  for (const Adapter& adapter : adapters.list) {
    const std::string tensor = tensor_name(*model.config().family, adapter.layer, adapter.role, Part::weight);
    transposed[tensor] = is_transposed(model.config(), adapter.layer, adapter.role, Part::weight);
    by_tensor->emplace(tensor, adapter);
  }
  Source source = base;
  source.name = std::move(name);
  source.adapter = [by_tensor, transposed, scale = adapters.options.scale()](const std::string& tensor) -> Update {
    const auto found = by_tensor->find(tensor);
    if (found == by_tensor->end()) return {};
    return [adapter = found->second, turned = transposed.at(tensor), scale](std::int64_t first, std::int64_t count,
                                                                            std::span<float> rows) {
      add_update(adapter, scale, turned, first, count, rows);
    };
  };
  return source;
}

}  // namespace streamline::merge
