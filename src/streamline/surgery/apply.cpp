// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/apply.h"

#include <algorithm>
#include <map>

#include "streamline/arch/config_write.h"
#include "streamline/base/error.h"
#include "streamline/base/version.h"
#include "streamline/surgery/model_card.h"
#include "streamline/surgery/result.h"
#include "streamline/surgery/side_files.h"
#include "streamline/surgery/verify.h"

namespace streamline {

namespace fs = std::filesystem;

namespace {

bool is_inside(const fs::path& path, const fs::path& directory) {
  const auto [mismatch, unused] = std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return mismatch == directory.end();
}

// With a source of files in memory there is nothing to run into.
void check_target(const Checkpoint& source, const fs::path& out) {
  std::error_code error;
  if (!fs::is_directory(source.label(), error)) return;
  const fs::path from = fs::weakly_canonical(source.label());
  fs::path to = fs::weakly_canonical(fs::absolute(out));
  if (!to.has_filename()) to = to.parent_path();
  if (from == to) fail(ErrorKind::usage, out.string(), ": the target is the source; choose another directory");
  if (is_inside(to, from)) fail(ErrorKind::usage, out.string(), ": the target lies inside the source ", source.label());
  if (is_inside(from, to)) fail(ErrorKind::usage, out.string(), ": the source ", source.label(), " lies inside it");
}

void check_plan(const Model& source, const Plan& plan, const Replacements& replacements) {
  validate(plan);
  const std::string label = source.checkpoint().label();
  if (plan.base.layers != source.layer_count()) {
    fail(ErrorKind::mismatch, label, " has ", source.layer_count(), " layers; the plan is for ", plan.base.layers);
  }
  if (!plan.base.digest.empty() && plan.base.digest != source.checkpoint().digest()) {
    fail(ErrorKind::mismatch, label, ": the plan was made for other weights",
         plan.base.model.empty() ? "" : " (" + plan.base.model + ")", "; digest ", plan.base.digest, " expected");
  }
  for (const std::int64_t s : missing_weights(plan, replacements)) {
    const Segment& segment = plan.segments[s];
    fail(ErrorKind::mismatch, "plan: layers ", segment.first, "..", segment.last, " are replaced by ",
         segment.replacement, ", but there are no weights for it");
  }
}

// Running out of disk after minutes of writing is worse than hearing it first.
void check_space(const OutputDirectory& out, std::uint64_t bytes, const fs::path& target) {
  std::error_code error;
  const fs::space_info space = fs::space(out.staging(), error);
  if (!error && space.available < bytes) {
    fail(ErrorKind::resource, target.string(), ": the result takes ", bytes / 1'000'000, " MB and the disk has ",
         space.available / 1'000'000, " MB left; free some space or choose another --out");
  }
}

// What a reader can learn from a weights file or config.json alone; a function of the plan, so that applying it again
// gives the same bytes.
Json provenance_of(const Plan& plan) {
  return {{"version", program_version()},
          {"base_model", plan.base.model},
          {"base_digest", plan.base.digest},
          {"base_layers", plan.base.layers},
          {"plan", summary(plan)},
          {"method", plan.method.name},
          {"parameters", plan.method.parameters},
          {"calibration_digest", plan.method.calibration_digest},
          {"seed", plan.method.seed}};
}

std::map<std::string, std::string> metadata_of(const Json& provenance) {
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : provenance.items())
    metadata["streamline." + key] = value.is_string() ? value.get<std::string>() : value.dump();
  return metadata;
}

std::string loading_note(bool ordinary, const Config& config) {
  if (ordinary) {
    return "an ordinary " + std::string(config.family->name) +
           " checkpoint: transformers, vLLM, llama.cpp's converter and MLX load it wherever they load the source";
  }
  return "stored with the streamline extension of config.json: only this program loads it; transformers, vLLM, "
         "llama.cpp and MLX refuse it (model_type \"streamline\")";
}

std::string source_card(const Checkpoint& source) {
  return source.files().contains("README.md") ? std::string(source.files().open("README.md").text()) : std::string();
}

std::string base_name(const std::string& label) {
  const fs::path path = fs::absolute(label).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

// "org/name" for a snapshot in the local hub cache (…/models--org--name/snapshots/…), else the directory's name.
std::string model_name(const std::string& label) {
  constexpr std::string_view kPrefix = "models--";
  for (const fs::path& part : fs::absolute(label)) {
    std::string name = part.string();
    if (!name.starts_with(kPrefix)) continue;
    name.erase(0, kPrefix.size());
    if (const std::size_t dashes = name.find("--"); dashes != std::string::npos) name.replace(dashes, 2, "/");
    return name;
  }
  return base_name(label);
}

Plan completed(const Model& source, Plan plan) {
  if (plan.base.model.empty()) plan.base.model = model_name(source.checkpoint().label());
  if (plan.base.digest.empty()) plan.base.digest = source.checkpoint().digest();
  return plan;
}

}  // namespace

std::vector<std::int64_t> missing_weights(const Plan& plan, const Replacements& replacements) {
  std::vector<std::int64_t> missing;
  for (std::size_t s = 0; s < plan.segments.size(); ++s) {
    const auto index = static_cast<std::int64_t>(s);
    if (plan.segments[s].action == Action::replace && replacements.count(index) == 0) missing.push_back(index);
  }
  return missing;
}

torch::ScalarType stored_type(const Config& config) {
  struct Name {
    std::string_view name;
    torch::ScalarType type;
  };
  constexpr std::array kNames = {Name{"float32", torch::kFloat32}, Name{"float16", torch::kFloat16},
                                 Name{"bfloat16", torch::kBFloat16}};
  for (const Name& known : kNames) {
    if (known.name == config.dtype) return known.type;
  }
  fail(ErrorKind::unsupported, "config.json: dtype '", config.dtype,
       "' cannot hold trained weights; expected float32, float16 or bfloat16");
}

LayerWeights as_stored(const LayerWeights& weights, const Config& config) {
  return copy_to(weights, torch::kCPU, stored_type(config));
}

void check_applicable(const Checkpoint& source) {
  if (!source.is_safetensors())
    fail(ErrorKind::unsupported, source.label(),
         ": a plan cannot be applied to a GGUF file; score, eval, generate and ",
         "bench work on it, eval --plan measures one without writing, and prune the checkpoint that it was made from");
}

AppliedPlan apply_plan(const Model& source, const Plan& plan, const Replacements& replacements, const fs::path& out,
                       const ApplyOptions& options) {
  check_applicable(source.checkpoint());
  check_target(source.checkpoint(), out);
  check_plan(source, plan, replacements);
  const Plan whole = completed(source, plan);
  Replacements stored;
  for (const auto& [segment, weights] : replacements) stored[segment] = as_stored(weights, source.config());

  OutputDirectory directory(out, options.overwrite);
  Result result = lay_out(source, whole, stored);
  check_space(directory, data_bytes(result.tensors), out);
  const Json provenance = provenance_of(whole);
  copy_side_files(source.checkpoint().files(), source.checkpoint().config(), directory);
  write_plan_bundle(directory, whole, stored);
  write_tensors(directory, result.tensors,
                {.max_shard_size = options.max_shard_size, .metadata = metadata_of(provenance)});
  AppliedPlan applied{.ordinary = !needs_extension(source.config(), result.layers), .notes = std::move(result.notes)};
  Json config = output_config(source.config(), result.layers, provenance);
  if (!applied.ordinary) config.erase("auto_map");  // remote code would build the model without the extension
  directory.write("config.json", dump_json(config));
  applied.notes.push_back(loading_note(applied.ordinary, source.config()));
  verify_result(source.view(whole, stored), directory.staging(), options.verify, applied);
  directory.write("README.md", model_card(whole, {.name = base_name(out.string()),
                                                  .source_card = source_card(source.checkpoint()),
                                                  .layers_before = source.layer_count(),
                                                  .layers_after = applied.layers,
                                                  .parameters_before = source.parameters(),
                                                  .parameters_after = applied.parameters,
                                                  .ordinary = applied.ordinary,
                                                  .provenance = options.provenance,
                                                  .body = options.card_body}));
  if (options.finish) options.finish(directory, applied);
  directory.commit();
  return applied;
}

}  // namespace streamline
