// SPDX-License-Identifier: Apache-2.0
// Carries out a plan: writes the smaller checkpoint, re-opens it and compares.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "streamline/engine/model.h"
#include "streamline/io/checkpoint_writer.h"
#include "streamline/surgery/format.h"

namespace streamline {

// How far the re-opened result was compared with what was meant: its layers, names and settings; the bytes of its
// tensors as well, of which it has samples; or the logits of both.
enum class Checked { files, tensors, logits };

struct AppliedPlan {
  std::int64_t layers = 0, parameters = 0;
  std::uint64_t bytes = 0;          // of tensor data
  bool ordinary = true;             // false: another form, or the extension of config.json, was needed
  std::string format = "ordinary";  // "ordinary", "decilm", "per-layer"; "extension" (format.h)
  bool converts = true;             // nothing known speaks against llama.cpp's converter (llama_cpp_note())
  std::vector<std::string> notes;   // what was done and who can load it
  Checked checked = Checked::files;
  std::optional<double> largest_logit_difference = {};  // of Checked::logits, relative to the largest logit
  bool computed = true;  // false: by names alone (renumber.h), so that the parameters are unknown
};

std::string_view checked_name(Checked checked);  // "files", "tensors", "logits"

struct ApplyOptions {
  std::uint64_t max_shard_size = 5'000'000'000;
  Overwrite overwrite = Overwrite::no;
  Format format = Format::automatic;
  Json provenance = Json::object();  // what only the caller knows (command, data, perplexities …); into the card
  std::string card_body = {};        // Markdown below the card's front matter; empty: made from the plan
  std::string card_pipeline = {};    // what the result does, where that is not what the source does
  std::vector<std::string> card_tags = {};  // none: those of a smaller model
  bool repeatable = true;  // the plan repeats the result, and lies in it; not where the model's weights changed
  // How far to compare it; not given: tensors where all of them are the source's, else logits.
  std::optional<Checked> check = {};
  // Called before anything is written: changes tensors outside the layers, and config.json. Not of a GGUF source.
  std::function<void(std::vector<TensorSource>&, Json& config)> edit = {};
  // Called last, before the rename: what is written here appears together with the checkpoint.
  std::function<void(OutputDirectory&, const AppliedPlan&)> finish = {};
};

// What is known before the work: errors of usage for a target that does not fit the source. A Hugging Face directory
// becomes a directory, a GGUF file a GGUF file. apply_plan() checks it too; ask before work that would be lost.
void check_applicable(const Checkpoint& source, const std::filesystem::path& out);

// Of a GGUF source, see apply_gguf.h. Surviving tensors are copied byte for byte and renumbered; replacements are
// rounded to the source's dtype and folded (formats: docs/formats.md); config.json is rewritten in both spellings; side
// files are copied; the plan and the trained weights lie in `streamline/` inside the result. Weights, config.json and
// plan depend on the source, the plan and the replacements alone: applying the stored plan again repeats them byte for
// byte. Everything appears by one rename, after the result was re-opened and compared. A source that was changed by the
// plan's masks (read_plan_masks()) is written so. Errors: io, resource (disk), mismatch (plan and source, missing
// weights, masks that the source was not changed by), usage (target inside the source, or the other way round); a
// failed comparison is an internal error and leaves nothing.
AppliedPlan apply_plan(const Model& source, const Plan& plan, const Replacements& replacements,
                       const std::filesystem::path& out, const ApplyOptions& options);

// The type in which the source stores its layers. Errors: unsupported for a type that is none of float32, float16,
// bfloat16.
torch::ScalarType stored_type(const Config& config);

// The replacement as it will be stored: rounded to the source's dtype, so that what is measured is what is written.
LayerWeights as_stored(const LayerWeights& weights, const Config& config);

// Segments that are replaced and have no entry in `replacements`: whoever knows how to make initial weights fills them
// in before apply_plan().
std::vector<std::int64_t> missing_weights(const Plan& plan, const Replacements& replacements);

// Writes streamline/plan.json and, when something is replaced, streamline/replacement.safetensors, and
// streamline/masks.safetensors where it masks, so that `streamline apply` repeats the result. The plan's entries of
// these files are set here. masks: the plan's; null where it has none.
void write_plan_bundle(OutputDirectory& out, Plan plan, const Replacements& replacements,
                       const MasksFile* masks = nullptr);

// The same of a plan without masks under other names, those of the files relative to where `out` stages them.
struct PlanFileNames {
  std::filesystem::path plan, weights;
  std::string weights_in_plan;  // how the plan calls the weights, from where it lies
};
void write_plan_files(OutputDirectory& out, const PlanFileNames& names, Plan plan, const Replacements& replacements);

// The plan itself, or the one inside a result's directory.
std::filesystem::path plan_file_of(const std::filesystem::path& given);

enum class AnyWeights { no, yes };
// Reads a plan (or the one inside a result's directory) and the weights beside it, checked against their digest and
// against the source. A segment without a weights file has no entry in the result: see missing_weights().
// Errors: io, format, mismatch.
std::pair<Plan, Replacements> read_plan_bundle(const std::filesystem::path& plan_file, const Model& source,
                                               AnyWeights any_weights = AnyWeights::no);
// What the masks of a plan that was read there make of a model, for Model::changed() before it is seen through the
// plan; null where the plan masks nothing. Errors: io, format, mismatch, unsupported: those of MasksFile::open() and
// masking().
std::shared_ptr<const WeightChange> read_plan_masks(const std::filesystem::path& plan_file, const Plan& plan,
                                                    const Model& source);
// The plan alone, for a source that has so many layers and this digest. With AnyWeights::yes a plan that was made for
// other weights (an unquantised or an earlier twin) is taken too; it then is one for these.
Plan read_plan(const std::filesystem::path& plan_file, const Checkpoint& source, std::int64_t layers,
               AnyWeights any_weights = AnyWeights::no);

}  // namespace streamline
