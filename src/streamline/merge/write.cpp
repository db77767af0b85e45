// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/write.h"

#include <sstream>

#include "streamline/arch/companions.h"
#include "streamline/arch/config.h"
#include "streamline/arch/multimodal.h"
#include "streamline/base/error.h"
#include "streamline/base/version.h"
#include "streamline/surgery/format.h"
#include "streamline/surgery/model_card.h"
#include "streamline/surgery/origin.h"
#include "streamline/surgery/result.h"
#include "streamline/surgery/side_files.h"

namespace streamline::merge {
namespace {

constexpr const char* kConfigurationFile = "mergekit_config.yml";  // as mergekit calls it

// A model by its name, without the place where it lay, and a digest of its weights; an adapter has none of its own.
PlanBase identity_of(const Source& source) {
  if (source.adapter) return {.model = base_name(source.name)};
  return completed_plan(*source.checkpoint, {}).base;
}

const Source& reference_of(const MergePlan& plan) { return plan.request.models[plan.request.reference]; }

using Identities = std::vector<PlanBase>;

Identities identities_of(const MergePlan& plan) {
  Identities models;
  for (const Source& source : plan.request.models) models.push_back(identity_of(source));
  return models;
}

Json provenance_of_merge(const Identities& identities, const Json& recipe) {
  Json models = Json::array();
  for (const PlanBase& base : identities) models.push_back({{"model", base.model}, {"digest", base.digest}});
  return {{"version", program_version()}, {"method", "merge"}, {"models", models}, {"recipe", recipe}};
}

std::string card_body(const MergePlan& plan, const Identities& identities, const std::string& name,
                      const WriteOptions& options, const std::string& doubt) {
  std::ostringstream card;
  card << "# " << name << "\n\nMerged with `streamline merge` by the rule " << plan.request.rule->name << ": "
       << plan.request.rule->summary << ".\n\n| model | SHA-256 of a sample of its weights |\n|---|---|\n";
  for (const PlanBase& base : identities)
    card << "| `" << base.model << "` | " << (base.digest.empty() ? "an adapter" : "`" + base.digest + "`") << " |\n";
  card << "\n## Recipe\n\n```json\n" << dump_json(options.recipe) << "```\n";
  if (options.run.contains("command")) {
    card << "\n```\n";
    for (const Json& word : options.run["command"]) card << word.get<std::string>() << ' ';
    card << "\n```\n";
  }
  if (!options.configuration.empty()) card << "\n```yaml\n" << options.configuration << "\n```\n";
  for (const std::string& note : plan.notes) card << "\n- " << note;
  card << "\n\nAn ordinary checkpoint of its family; "
       << (doubt.empty() ? "every runtime that loads the models loads it unmodified" : doubt) << ".\n";
  return card.str();
}

void write_card(const MergePlan& plan, const Identities& identities, const std::filesystem::path& out,
                const WriteOptions& options, const std::string& doubt, OutputDirectory& directory) {
  const Checkpoint& reference = *reference_of(plan).checkpoint;
  CardFacts facts{.name = base_name(out.string()),
                  .source_card = source_card(reference),
                  .multimodal = is_multimodal(reference.config())};
  for (const PlanBase& base : identities) facts.base_models.push_back(base.model);
  facts.body = card_body(plan, identities, facts.name, options, doubt);
  directory.write("README.md", model_card({}, facts));
  for (const auto& [name, text] : options.files) directory.write(name, text);
  if (!options.configuration.empty()) directory.write(kConfigurationFile, options.configuration);
}

std::vector<TensorSource> sources_of(const MergePlan& plan) {
  std::vector<TensorSource> sources;
  const auto memory = std::make_shared<ResultMemory>();
  for (const TensorMerge& merge : plan.tensors)
    sources.push_back({merge.header, [&merge, memory] { return merged_bytes(merge, memory.get()); }});
  return sources;
}

// What was written is what was meant: the tensors, and a configuration that agrees with them where the family is known.
// Returns its llama_cpp_note().
std::string verify(const MergePlan& plan, const std::filesystem::path& directory, Written& written) {
  const auto checkpoint = Checkpoint::open(directory);
  bool same = checkpoint->tensors().size() == plan.tensors.size();
  for (const TensorMerge& merge : plan.tensors) {
    const TensorInfo* found = checkpoint->find(merge.header.name);
    same = same && found != nullptr && found->dtype == merge.header.dtype && found->shape == merge.header.shape;
    written.parameters += found == nullptr ? 0 : found->elements();
  }
  if (!same)
    fail(ErrorKind::internal, "the written checkpoint did not pass its check and was removed; please report it");
  written.layers = plan.map.after();
  written.bytes = checkpoint->total_bytes();
  try {
    return llama_cpp_note(resolve_config(*checkpoint));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;  // a family that this program does not compute with
    return {};
  }
}

const Source& tokenizer_source(const MergePlan& plan, const std::string& name) {
  const std::string& wanted = name.empty() && plan.vocabulary ? plan.widest : name;
  if (wanted.empty()) return reference_of(plan);
  for (const Source& source : plan.request.models)
    if (source.name == wanted) return source;
  fail(ErrorKind::usage, "the tokenizer of ", name, " is asked for, which is none of the models that are merged");
}

}  // namespace

void check_writable(const MergePlan& plan, const std::filesystem::path& out) {
  for (const Source& source : plan.request.models) {
    check_target(*source.checkpoint, out);
    check_no_side_route(*source.checkpoint, "no merge can take in");
  }
  const Source& reference = reference_of(plan);
  if (!reference.checkpoint->is_safetensors())
    fail(ErrorKind::unsupported, reference.name, ": is a GGUF file; the result takes config.json and tokenizer of a ",
         "Hugging Face directory, which the base must be");
  if (out.extension() == ".gguf")
    fail(ErrorKind::usage, out.string(), ": the result is a directory; `streamline export` makes a GGUF file of it");
}

Written write_merge(const MergePlan& plan, const std::filesystem::path& out, const WriteOptions& options) {
  check_writable(plan, out);
  Written written{.notes = plan.notes};
  OutputDirectory directory(out, options.overwrite);
  const std::vector<TensorSource> tensors = sources_of(plan);
  check_space(directory, data_bytes(tensors), out);
  const Identities identities = identities_of(plan);
  const Json provenance = provenance_of_merge(identities, options.recipe);
  const Json config = result_config(plan, provenance, written.notes);
  const Source& tokenizer = tokenizer_source(plan, options.tokenizer);
  copy_side_files(tokenizer.checkpoint->files(), tokenizer.checkpoint->config(), directory);
  write_tensors(directory, tensors, {.max_shard_size = options.max_shard_size, .metadata = metadata_of(provenance)});
  directory.write("config.json", dump_json(config));
  const std::string doubt = verify(plan, directory.staging(), written);
  if (!doubt.empty()) written.notes.push_back(doubt);
  write_card(plan, identities, out, options, doubt, directory);
  directory.commit();
  return written;
}

}  // namespace streamline::merge
