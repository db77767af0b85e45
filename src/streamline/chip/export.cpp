// SPDX-License-Identifier: Apache-2.0
#include "streamline/chip/export.h"

#include <algorithm>
#include <array>

#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/chip/card.h"
#include "streamline/chip/classify.h"
#include "streamline/nn/tensor_bytes.h"
#include "streamline/surgery/verify.h"

namespace streamline::chip {
namespace {

namespace fs = std::filesystem;

constexpr const char* kChipsName = "chips.safetensors";
constexpr double kSameLogits = 1e-4;  // relative: a copied trunk differs by nothing, a head by its order of sums

// What the classes of transformers begin with that have a …ForSequenceClassification (transformers 5.24).
constexpr std::array<std::string_view, 20> kClassifiers = {
    "Llama", "Mistral", "Mixtral", "Qwen2", "Qwen3", "Qwen2Moe", "Qwen3Moe", "Gemma2", "Gemma3Text", "Phi",
    "Phi3",  "GPT2",    "GPTNeoX", "Olmo2", "Olmo3", "OPT",      "SmolLM3",  "Falcon", "Glm4",       "Starcoder2"};

// "Llama" of "LlamaForCausalLM"; empty when config.json names no class of a language model. Of Gemma 3 transformers has
// Gemma3ForCausalLM for the text alone, and else Gemma3Text…: Gemma3Model has a vision tower.
std::string class_prefix(const Json& config) {
  const auto found = config.find("architectures");
  if (found == config.end() || !found->is_array() || found->empty() || !found->front().is_string()) return {};
  const std::string name = found->front().get<std::string>();
  if (name == "Gemma3ForCausalLM") return "Gemma3Text";
  for (const char* end : {"ForCausalLM", "LMHeadModel", "ForSequenceClassification", "Model"})
    if (name.ends_with(end)) return name.substr(0, name.size() - std::string_view(end).size());
  return {};
}

std::int64_t last_layer(const Chips& chips) {
  std::int64_t last = -1;
  for (const TaskChips& task : chips.tasks) {
    if (!task.choice)
      fail(ErrorKind::usage, "no chip of ", task.task, " is chosen yet; `streamline chip select --out` does that");
    last = std::max(last, task.choice->layer);
  }
  return last;
}

const Chip& chosen_chip(const TaskChips& task) { return task.chips[task.choice->chip].chip; }

// The chosen chips, and those of their kind below them, at which a text may leave early.
Chips kept_chips(const Chips& chips) {
  Chips kept{.trunk = chips.trunk, .tasks = {}};
  for (const TaskChips& task : chips.tasks) {
    TaskChips& next = kept.tasks.emplace_back(task);
    std::erase_if(next.chips, [&](const TrainedChip& chip) {
      return chip.chip.kind != task.choice->kind || chip.chip.layer > task.choice->layer;
    });
    next.choice->chip = next.chips.size() - 1;
  }
  return kept;
}

TensorSource owned(std::string name, const torch::Tensor& value) {
  auto owner = std::make_shared<const torch::Tensor>(value.contiguous());
  return {.header = {.name = std::move(name), .dtype = stored_dtype(value.scalar_type()), .shape = value.sizes().vec()},
          .bytes = [owner] {
            return Blob{bytes_of(*owner), owner};
          }};
}

// What all classes have in common changes no probability.
torch::Tensor without_common(const torch::Tensor& values) { return values - values.mean(-1, /*keepdim=*/true); }

// The bias of a LayerNorm that adds the chip's own, but for what all classes have in common: A (x + c) = A x + b.
torch::Tensor norm_bias(const Chip& chip) {
  const auto a = chip.weight.to(torch::kFloat64);
  if (!chip.bias.defined()) return torch::zeros({a.size(1)});
  return torch::linalg_pinv(a).mv(without_common(chip.bias.to(torch::kFloat64))).to(torch::kFloat32);
}

// Whether there is such a bias: not where classes' rows depend on each other otherwise than their biases.
bool fits_into_norm(const Chip& chip) {
  if (!chip.bias.defined()) return true;
  const auto reached = torch::mv(chip.weight, norm_bias(chip)), wanted = without_common(chip.bias);
  return (reached - wanted).abs().max().item<double>() <= 1e-5 * std::max(1.0, wanted.abs().max().item<double>());
}

// The head in the place of the language model's, behind a norm that only normalises.
void edit_into_classifier(const Model& model, const Chip& chip, std::vector<TensorSource>& tensors) {
  const Family& family = *model.config().family;
  const std::string weight = tensor_name(family, -1, Role::final_norm, Part::weight),
                    bias = tensor_name(family, -1, Role::final_norm, Part::bias);
  for (TensorSource& tensor : tensors) {
    const auto type = scalar_type(tensor.header.dtype);
    if (tensor.header.name == weight)
      tensor = owned(weight, torch::full(tensor.header.shape, 1 - family.traits.norm_offset, type));
    else if (tensor.header.name == bias)
      tensor = owned(bias, norm_bias(chip));
  }
  tensors.push_back(owned(std::string(kClassHead), chip.weight));
}

void drop_head(const Model& model, std::vector<TensorSource>& tensors, Json& config) {
  const Family& family = *model.config().family;
  std::erase_if(tensors, [&](const TensorSource& tensor) {
    return tensor.header.name == tensor_name(family, -1, Role::head, Part::weight) ||
           tensor.header.name == tensor_name(family, -1, Role::head, Part::bias) || tensor.header.name == kClassHead;
  });
  // There is no head to tie; readers of language models must not miss one.
  config["tie_word_embeddings"] = true;
}

void describe_classes(const TaskChips& task, const Config& model, Json& config) {
  Json names = Json::object(), numbers = Json::object();
  for (std::size_t i = 0; i < task.classes.size(); ++i) {
    names[std::to_string(i)] = task.classes[i];
    numbers[task.classes[i]] = i;
  }
  config["id2label"] = names;
  config["label2id"] = numbers;
  config["num_labels"] = task.classes.size();
  config["problem_type"] = "single_label_classification";
  // transformers finds the last token of a padded text by it.
  if (config.value("pad_token_id", Json()).is_null()) config["pad_token_id"] = model.eos.value_or(0);
}

// Last hidden states of a short fixed text, [1, hidden] a layer.
std::vector<torch::Tensor> fixed_states(const Model& model, const torch::Tensor& ids) {
  std::vector<torch::Tensor> states = hidden_states(model, ids);
  for (torch::Tensor& state : states) state = state.select(1, ids.size(1) - 1);
  return states;
}

// The written chips on the written trunk against those in memory on the whole model: layers above cannot matter.
double compare_written(const Model& model, const Chips& kept, const fs::path& directory, bool classifier) {
  const torch::NoGradGuard no_gradients;
  const Model written = Model::open(Checkpoint::open(directory), model.placement());
  const Chips read = read_chips(chips_file_in(directory));
  const torch::Tensor ids = fixed_tokens(model.config());
  const auto before = fixed_states(model.truncated(written.layer_count()), ids), after = fixed_states(written, ids);
  double largest = 0;
  for (std::size_t task = 0; task < kept.tasks.size(); ++task) {
    const Chip &meant = chosen_chip(kept.tasks[task]), &found = chosen_chip(read.tasks[task]);
    const auto at = static_cast<std::size_t>(meant.layer + 1);
    const auto expected = logits(meant, before[at]);
    largest = std::max(largest, relative_difference(logits(found, after[at]), expected));
    if (!classifier) continue;
    const auto head = torch::linear(written.final_norm(after[at]).to(torch::kFloat32), class_head(written));
    largest = std::max(largest, relative_difference(without_common(head), without_common(expected)));
  }
  return largest;
}

}  // namespace

fs::path chips_file_in(const fs::path& directory) { return directory / "streamline" / kChipsName; }

std::string why_no_classifier(const Model& model, const Chips& chips) {
  const Config& config = model.config();
  const std::string prefix = class_prefix(config.json);
  if (std::ranges::find(kClassifiers, prefix) == kClassifiers.end())
    return "transformers has no such class for " + (prefix.empty() ? std::string(config.family->name) : prefix);
  if (chips.tasks.size() > 1) return "it has one head, and there are several tasks";
  const TaskChips& task = chips.tasks.front();
  const Chip& chip = chosen_chip(task);
  if (chip.kind != Kind::linear) return "its head is linear, and the chip an MLP";
  if (task.input.position.kind != Position::Kind::last) return "it reads the last token, and the chip another";
  if (!config.final_norm || config.projects_embeddings()) return "the model has no final norm in front of its head";
  const bool layer_norm = chips.trunk.layer_norm;
  if (chip.normaliser.norm != (layer_norm ? FeatureNorm::layer : FeatureNorm::rms))
    return std::string("the model's final norm stands in front of its head; train with --feature-norm ") +
           (layer_norm ? "layer" : "rms");
  if (chip.bias.defined() && !(layer_norm && config.family->traits.norm_bias))
    return "its head has no bias; train with --no-bias";
  if (!fits_into_norm(chip))
    return "its head has no bias, and the final norm cannot take the chip's; train with --no-bias";
  return {};
}

Exported export_chips(const Model& model, const Chips& chips, const fs::path& out, const ExportOptions& options) {
  check_trunk(chips.trunk, model, "the chips");
  if (!model.checkpoint().is_safetensors() || model.config().multimodal || model.config().layers.empty())
    fail(ErrorKind::unsupported, model.checkpoint().label(),
         ": only a Hugging Face directory of a text model is cut behind its chips; `chip run --chips` uses it whole");
  const std::int64_t last = last_layer(chips), all = model.layer_count();
  Chips kept = kept_chips(chips);
  Exported exported{.applied = {}, .layers = last + 1, .architecture = class_prefix(model.config().json)};
  exported.why_plain = options.plain ? "a plain trunk was asked for" : why_no_classifier(model, chips);
  const bool classifier = exported.why_plain.empty();
  exported.architecture += classifier ? "ForSequenceClassification" : "Model";
  std::vector<std::string> of_language_models;  // notes that are not true of what has no head
  const Plan plan = last + 1 == all ? keep_all(all) : cut_window(all, last + 1, all - last - 1);
  ApplyOptions apply{.max_shard_size = options.max_shard_size, .overwrite = options.overwrite};
  apply.provenance = options.run;
  apply.card_body = chip_card(kept, exported, options.run);
  apply.card_pipeline = classifier ? "text-classification" : "feature-extraction";
  apply.card_tags = {"chip-tuning"};
  apply.repeatable = false;
  apply.check = Checked::files;  // there is no head to compare; compare_written() does it
  apply.edit = [&](std::vector<TensorSource>& tensors, Json& config) {
    drop_head(model, tensors, config);
    config["architectures"] = Json::array({exported.architecture});
    if (!classifier) return;
    edit_into_classifier(model, chosen_chip(kept.tasks.front()), tensors);
    describe_classes(kept.tasks.front(), model.config(), config);
  };
  apply.finish = [&](OutputDirectory& directory, const AppliedPlan&) {
    Chips written = kept;
    const Model trunk = Model::open(Checkpoint::open(directory.staging()), model.placement());
    of_language_models = loading_notes(trunk.config());
    written.trunk = trunk_of(trunk);
    written.trunk.model = out.filename().empty() ? out.parent_path().filename().string() : out.filename().string();
    fs::create_directories(chips_file_in(directory.staging()).parent_path());
    write_chips(written, chips_file_in(directory.staging()));
    exported.largest_difference = compare_written(model, kept, directory.staging(), classifier);
    if (!(exported.largest_difference <= (model.placement().dtype == torch::kFloat32 ? kSameLogits : 3e-2)))
      fail(ErrorKind::internal, "the written chips' logits differ from those in memory by ",
           exported.largest_difference, " of the largest");
  };
  exported.applied = apply_plan(model, plan, {}, out, apply);
  if (exported.applied.format != "ordinary") return exported;
  std::erase_if(exported.applied.notes, [&](const std::string& note) {
    return std::ranges::find(of_language_models, note) != of_language_models.end();
  });
  return exported;
}

}  // namespace streamline::chip
