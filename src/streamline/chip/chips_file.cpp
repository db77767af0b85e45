// SPDX-License-Identifier: Apache-2.0
#include "streamline/chip/chips_file.h"

#include <algorithm>
#include <map>

#include "streamline/base/error.h"
#include "streamline/base/json_fields.h"
#include "streamline/engine/tensor_file.h"
#include "streamline/io/safetensors.h"

namespace streamline::chip {
namespace {

constexpr std::int64_t kChipsVersion = 1;
constexpr const char* kChipsKey = "streamline.chips";

std::string chip_name(std::size_t task, std::int64_t layer, Kind kind) {
  return std::to_string(task) + "." + std::to_string(layer) + "." + std::string(name(kind)) + ".";
}

// Calls visit(name, tensor) for all that a chip may have.
template <class SomeChip, class Visit>
void for_each_part(SomeChip& chip, Visit&& visit) {
  visit("mean", chip.normaliser.mean);
  visit("scale", chip.normaliser.scale);
  visit("hidden.weight", chip.hidden_weight);
  visit("hidden.bias", chip.hidden_bias);
  visit("weight", chip.weight);
  visit("bias", chip.bias);
}

Json chip_json(const TrainedChip& trained) {
  return {{"layer", trained.chip.layer},
          {"kind", name(trained.chip.kind)},
          {"feature_norm", name(trained.chip.normaliser.norm)},
          {"epsilon", trained.chip.normaliser.epsilon},
          {"parameters", parameters(trained.chip)},
          {"train", to_json(trained.train)},
          {"validation", to_json(trained.validation)},
          {"test", trained.test.count > 0 ? to_json(trained.test) : Json()}};
}

Json choice_json(const Choice& choice) {
  return {{"chip", choice.chip}, {"layer", choice.layer}, {"kind", name(choice.kind)}, {"rule", choice.rule}};
}

Score score_from_json(const Json& json, const std::string& where) {
  if (json.is_null()) return {};
  return {.right = required(json_integer(json, "right", where), "right", where),
          .count = required(json_integer(json, "count", where), "count", where),
          .loss = json_number(json, "loss", where).value_or(0),
          .margin = json_number(json, "margin", where).value_or(0)};
}

Json most_frequent_json(const TaskChips& task) {
  if (!task.most_frequent) return nullptr;
  const auto part = [](const Score& score) {
    return score.count == 0 ? Json()
                            : Json{{"accuracy", score.accuracy()}, {"right", score.right}, {"count", score.count}};
  };
  return {{"class", task.classes[static_cast<std::size_t>(task.most_frequent->label)]},
          {"train", part(task.most_frequent->train)},
          {"validation", part(task.most_frequent->validation)},
          {"test", part(task.most_frequent->test)}};
}

std::optional<MostFrequent> most_frequent_from_json(const Json& json, const std::vector<std::string>& classes,
                                                    const std::string& where) {
  if (json.is_null()) return std::nullopt;
  const auto found = std::ranges::find(classes, required(json_string(json, "class", where), "class", where));
  if (found == classes.end()) fail(ErrorKind::format, where, ": its most frequent class is none of its classes");
  return MostFrequent{.label = found - classes.begin(),
                      .train = score_from_json(json.value("train", Json()), where),
                      .validation = score_from_json(json.value("validation", Json()), where),
                      .test = score_from_json(json.value("test", Json()), where)};
}

// The tensors of a file by name, with the file for messages.
struct Tensors {
  std::map<std::string, TensorInfo> all;
  Blob file;
  std::string where;

  torch::Tensor read(const std::string& wanted) const {
    const auto found = all.find(wanted);
    if (found == all.end()) return {};
    auto value = read_tensor(found->second, file).to(torch::kFloat32);
    if (!torch::isfinite(value).all().item<bool>())
      fail(ErrorKind::numeric, where, ": '", wanted, "' holds NaN or infinity");
    return value;
  }
};

void check_chip(const Chip& chip, const Trunk& trunk, std::size_t classes, const std::string& which,
                const Tensors& tensors) {
  const auto is = [](const torch::Tensor& tensor, std::vector<std::int64_t> shape) {
    return tensor.defined() && tensor.sizes() == shape;
  };
  const auto count = static_cast<std::int64_t>(classes);
  const std::int64_t width = chip.hidden_weight.defined() ? chip.hidden_weight.size(0) : trunk.hidden;
  bool right = is(chip.weight, {count, width}) && (!chip.bias.defined() || is(chip.bias, {count}));
  if (chip.kind == Kind::mlp)
    right = right && is(chip.hidden_weight, {width, trunk.hidden}) && is(chip.hidden_bias, {width});
  if (chip.normaliser.norm == FeatureNorm::standardise)
    right = right && is(chip.normaliser.mean, {trunk.hidden}) && is(chip.normaliser.scale, {trunk.hidden});
  if (!right || chip.layer < 0 || chip.layer >= trunk.layers)
    fail(ErrorKind::format, tensors.where, ": the tensors of chip ", which, " have not the shapes that they should");
}

TrainedChip chip_from_json(const Json& json, std::size_t task, const Trunk& trunk, std::size_t classes,
                           const Tensors& tensors) {
  const std::string& where = tensors.where;
  TrainedChip trained;
  Chip& chip = trained.chip;
  chip.layer = required(json_integer(json, "layer", where), "layer", where);
  chip.kind = kind_named(required(json_string(json, "kind", where), "kind", where));
  chip.normaliser.norm = feature_norm_named(required(json_string(json, "feature_norm", where), "feature_norm", where));
  chip.normaliser.epsilon = required(json_number(json, "epsilon", where), "epsilon", where);
  const std::string prefix = chip_name(task, chip.layer, chip.kind);
  for_each_part(chip, [&](const char* part, torch::Tensor& tensor) { tensor = tensors.read(prefix + part); });
  check_chip(chip, trunk, classes, prefix, tensors);
  trained.train = score_from_json(json.value("train", Json()), where);
  trained.validation = score_from_json(json.value("validation", Json()), where);
  trained.test = score_from_json(json.value("test", Json()), where);
  return trained;
}

TaskChips task_from_json(const Json& json, std::size_t index, const Trunk& trunk, const Tensors& tensors) {
  const std::string& where = tensors.where;
  TaskChips task;
  task.task = required(json_string(json, "task", where), "task", where);
  task.classes = json_list<std::string>(json, "classes", &Json::is_string, where);
  task.input = input_from_json(json.value("input", Json()), where);
  task.training = json.value("training", Json::object());
  task.most_frequent = most_frequent_from_json(json.value("most_frequent", Json()), task.classes, where);
  for (const Json& chip : json_array(json, "chips", where))
    task.chips.push_back(chip_from_json(chip, index, trunk, task.classes.size(), tensors));
  const Json choice = json.value("choice", Json());
  if (choice.is_null()) return task;
  const std::int64_t chosen = required(json_integer(choice, "chip", where), "chip", where);
  if (chosen < 0 || chosen >= std::ssize(task.chips))
    fail(ErrorKind::format, where, ": the chosen chip of ", task.task, " is not in it");
  const Chip& chip = task.chips[static_cast<std::size_t>(chosen)].chip;
  task.choice = {.chip = static_cast<std::size_t>(chosen),
                 .layer = chip.layer,
                 .kind = chip.kind,
                 .rule = json_string(choice, "rule", where).value_or("")};
  return task;
}

}  // namespace

Json to_json(const TaskChips& task) {
  Json chips = Json::array();
  for (const TrainedChip& chip : task.chips) chips.push_back(chip_json(chip));
  return {{"task", task.task},
          {"classes", task.classes},
          {"input", to_json(task.input)},
          {"training", task.training},
          {"choice", task.choice ? choice_json(*task.choice) : Json()},
          {"most_frequent", most_frequent_json(task)},
          {"chips", std::move(chips)}};
}

void write_chips(const Chips& chips, const std::filesystem::path& path) {
  NamedTensors tensors;
  Json tasks = Json::array();
  for (std::size_t task = 0; task < chips.tasks.size(); ++task) {
    tasks.push_back(to_json(chips.tasks[task]));
    for (const TrainedChip& trained : chips.tasks[task].chips)
      for_each_part(trained.chip, [&](const char* part, const torch::Tensor& tensor) {
        if (tensor.defined())
          tensors.emplace_back(chip_name(task, trained.chip.layer, trained.chip.kind) + part, tensor);
      });
  }
  const Json json = {{"version", kChipsVersion}, {"trunk", to_json(chips.trunk)}, {"tasks", tasks}};
  TensorFile(tensors, {{kChipsKey, json.dump()}}).write(path);
}

Chips read_chips(const std::filesystem::path& path) {
  Tensors tensors{.all = {}, .file = map_file(path), .where = path.string()};
  for (TensorInfo& info : parse_safetensors(tensors.file.bytes, tensors.where)) {
    std::string tensor = info.name;
    tensors.all[tensor] = std::move(info);
  }
  const auto metadata = safetensors_metadata(tensors.file.bytes, tensors.where);
  const auto text = metadata.find(kChipsKey);
  if (text == metadata.end())
    fail(ErrorKind::format, tensors.where, ": is no file of chips; `streamline chip train` makes one");
  const Json json = parse_json(text->second, tensors.where);
  if (json_integer(json, "version", tensors.where) != kChipsVersion)
    fail(ErrorKind::format, tensors.where, ": is of a version that this program does not know");
  Chips chips{.trunk = trunk_from_json(json.value("trunk", Json()), tensors.where), .tasks = {}};
  for (const Json& task : json_array(json, "tasks", tensors.where))
    chips.tasks.push_back(task_from_json(task, chips.tasks.size(), chips.trunk, tensors));
  if (chips.tasks.empty()) fail(ErrorKind::format, tensors.where, ": has no chips");
  return chips;
}

const TaskChips& task_named(const Chips& chips, const std::string& name) {
  if (name.empty() && chips.tasks.size() == 1) return chips.tasks.front();
  std::string all;
  for (const TaskChips& task : chips.tasks) {
    if (task.task == name) return task;
    all += (all.empty() ? "" : ", ") + task.task;
  }
  if (name.empty()) fail(ErrorKind::usage, "there are chips of several tasks (", all, "); say which with --task");
  fail(ErrorKind::usage, "there are no chips of the task '", name, "' (", all, ")");
}

}  // namespace streamline::chip
