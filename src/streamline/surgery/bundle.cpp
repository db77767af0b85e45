// SPDX-License-Identifier: Apache-2.0
// A plan with the trained weights and the masks that it names, side by side in `streamline/`: in a sub-directory,
// because some loaders read every *.safetensors of a checkpoint's own directory.
#include <algorithm>

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/engine/masking.h"
#include "streamline/engine/tensor_file.h"
#include "streamline/io/safetensors.h"
#include "streamline/plan/plan_base.h"
#include "streamline/surgery/apply.h"
#include "streamline/surgery/layer_json.h"

namespace streamline {

namespace fs = std::filesystem;

namespace {

constexpr const char* kDirectory = "streamline";
constexpr const char* kPlanFile = "plan.json";
constexpr const char* kWeightsFile = "replacement.safetensors";
constexpr const char* kMasksFile = "masks.safetensors";

// "segments.1.gate.weight", "segments.1.experts.7.gate.weight"
std::string bundle_name(std::int64_t segment, Role role, Part part, std::int64_t expert) {
  return "segments." + std::to_string(segment) + "." + (expert < 0 ? "" : "experts." + std::to_string(expert) + ".") +
         std::string(role_name(role)) + (part == Part::weight ? ".weight" : ".bias");
}

torch::Tensor read_weights(const TensorInfo& tensor, const Blob& file) {
  if (tensor.dtype != DType::f32 && tensor.dtype != DType::f16 && tensor.dtype != DType::bf16)
    fail(ErrorKind::format, tensor.file, ": '", tensor.name, "' is ", dtype_name(tensor.dtype),
         "; expected F32, F16 or BF16");
  torch::Tensor value = read_tensor(tensor, file);
  if (!torch::isfinite(value).all().item<bool>())
    fail(ErrorKind::numeric, tensor.file, ": '", tensor.name, "' holds NaN or infinity");
  return value;
}

class WeightsFile {
 public:
  explicit WeightsFile(const fs::path& path)
      : path_(path.string()), file_(map_file(path)), digest_(sha256(file_.bytes)) {
    tensors_ = parse_safetensors(file_.bytes, path_);
    metadata_ = safetensors_metadata(file_.bytes, path_);
  }

  void check_digest(const std::string& expected) const {
    if (digest_ != expected)
      fail(ErrorKind::mismatch, path_, ": these are not the plan's weights (sha256 ", digest_, ", the plan says ",
           expected, ")");
  }

  LayerWeights layer(std::int64_t segment, const Config& model) const {
    const std::string key = "segments." + std::to_string(segment);
    const auto found = metadata_.find(key);
    if (found == metadata_.end()) fail(ErrorKind::format, path_, ": its metadata has no '", key, "'");
    const std::string where = path_ + ": " + key;
    LayerWeights weights{.config = layer_from_json(parse_json(found->second, where), where), .tensors = {}};
    std::size_t used = 0;
    for (const ExpectedTensor& expected : layer_tensors(model, weights.config, 0)) {
      const TensorInfo& tensor = at(bundle_name(segment, expected.role, expected.part, expected.expert));
      if (tensor.shape != expected.shape)
        fail(ErrorKind::mismatch, path_, ": '", tensor.name, "' does not have the shape that the model and '", key,
             "' ask for");
      place(weights, expected.role, expected.part, expected.expert) = read_weights(tensor, file_);
      ++used;
    }
    check_surplus(key + ".", used);
    return weights;
  }

 private:
  const TensorInfo& at(const std::string& name) const {
    for (const TensorInfo& tensor : tensors_) {
      if (tensor.name == name) return tensor;
    }
    fail(ErrorKind::format, path_, ": no tensor named '", name, "'");
  }
  void check_surplus(const std::string& prefix, std::size_t used) const {
    const auto count = std::count_if(tensors_.begin(), tensors_.end(),
                                     [&](const TensorInfo& t) { return t.name.starts_with(prefix); });
    if (static_cast<std::size_t>(count) != used)
      fail(ErrorKind::format, path_, ": ", count, " tensors named '", prefix, "*'; expected ", used);
  }

  std::string path_;
  Blob file_;
  std::string digest_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

void check_base(const Plan& plan, const Checkpoint& source, std::int64_t layers, AnyWeights any_weights,
                const std::string& where) {
  check_plan_layers(plan, layers, source.label(), where);
  if (any_weights == AnyWeights::no && !plan.base.digest.empty() && plan.base.digest != source.digest())
    fail(ErrorKind::mismatch, where, ": the plan was made for other weights than those of ", source.label(),
         "; if these are a twin of them (quantised, fine-tuned), 'streamline apply --any-weights' takes it");
}

}  // namespace

fs::path plan_file_of(const fs::path& given) {
  std::error_code error;
  return fs::is_directory(given, error) ? given / kDirectory / kPlanFile : given;
}

void write_plan_files(OutputDirectory& out, const PlanFileNames& names, Plan plan, const Replacements& replacements) {
  SL_ASSERT(missing_weights(plan, replacements).empty());
  NamedTensors tensors;
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  for (const auto& [segment, weights] : replacements) {
    metadata["segments." + std::to_string(segment)] = to_json(weights.config).dump();
    for (const PlacedTensor& tensor : placed_tensors(weights))
      tensors.emplace_back(bundle_name(segment, tensor.role, tensor.part, tensor.expert), tensor.value);
  }
  if (!tensors.empty()) {
    const std::string digest = TensorFile(tensors, metadata).write_digested(out.staging() / names.weights);
    for (const auto& [segment, weights] : replacements) {
      plan.segments[segment].weights_file = names.weights_in_plan;
      plan.segments[segment].weights_sha256 = digest;
    }
  }
  write_text(out.staging() / names.plan, dump_json(to_json(plan)));
}

void write_plan_bundle(OutputDirectory& out, Plan plan, const Replacements& replacements, const MasksFile* masks) {
  const fs::path directory = kDirectory;
  if (plan.masks) {
    SL_ASSERT(masks != nullptr && masks->sha256() == plan.masks->sha256);
    OutputFile file(out.staging() / directory / kMasksFile);
    file.write(masks->bytes());
    file.commit(Durable::with_directory);
    plan.masks->file = kMasksFile;
  }
  write_plan_files(
      out, {.plan = directory / kPlanFile, .weights = directory / kWeightsFile, .weights_in_plan = kWeightsFile},
      std::move(plan), replacements);
}

Plan read_plan(const fs::path& plan_file, const Checkpoint& source, std::int64_t layers, AnyWeights any_weights) {
  const fs::path file = plan_file_of(plan_file);
  const std::string where = file.string();
  Plan plan = plan_from_json(parse_json(map_file(file).text(), where), where);
  check_base(plan, source, layers, any_weights, where);
  if (any_weights == AnyWeights::yes && plan.base.digest != source.digest()) plan.base.model = plan.base.digest = "";
  return plan;
}

std::shared_ptr<const WeightChange> read_plan_masks(const fs::path& plan_file, const Plan& plan, const Model& source) {
  if (!plan.masks) return nullptr;
  const fs::path file = plan_file_of(plan_file).parent_path() / plan.masks->file;
  return masking(source, std::make_shared<const MasksFile>(MasksFile::open(file, plan.masks->sha256)));
}

std::pair<Plan, Replacements> read_plan_bundle(const fs::path& plan_file, const Model& source, AnyWeights any_weights) {
  const fs::path file = plan_file_of(plan_file);
  const Plan plan = read_plan(plan_file, source.checkpoint(), source.layer_count(), any_weights);
  Replacements replacements;
  std::map<std::string, WeightsFile> files;
  for (std::size_t s = 0; s < plan.segments.size(); ++s) {
    const Segment& segment = plan.segments[s];
    if (segment.weights_file.empty()) continue;
    const auto [opened, fresh] = files.try_emplace(segment.weights_file, file.parent_path() / segment.weights_file);
    opened->second.check_digest(segment.weights_sha256);
    const auto index = static_cast<std::int64_t>(s);
    replacements[index] = opened->second.layer(index, source.config());
  }
  return {plan, std::move(replacements)};
}

}  // namespace streamline
