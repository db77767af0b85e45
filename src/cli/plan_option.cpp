// SPDX-License-Identifier: Apache-2.0
#include "plan_option.h"

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/random.h"
#include "streamline/heal/initial.h"
#include "streamline/nn/weights_digest.h"

namespace streamline::cli {
namespace {

std::string digest(const std::string& text, const Replacements& replacements) {
  Sha256 hash;
  hash.update(text);
  for (const auto& [segment, weights] : replacements) add_weights(hash, weights);
  return hash.hex();
}

}  // namespace

std::vector<std::int64_t> fill_initial_weights(const Model& source, std::uint64_t seed, PlannedSurgery& surgery) {
  Rng rng(seed);
  const std::vector<std::int64_t> missing = missing_weights(surgery.plan, surgery.replacements);
  for (const std::int64_t index : missing) {
    const Segment& segment = surgery.plan.segments[static_cast<std::size_t>(index)];
    const Replacement& replacement = find_replacement(segment.replacement);
    const LayerWeights initial = initial_weights(replacement, source, segment.first, replacement.starts.front(), rng);
    surgery.replacements[index] = as_stored(initial, source.config());
  }
  return missing;
}

PlannedSurgery open_plan(const std::string& path, const Model& source, std::uint64_t seed, AnyWeights any_weights) {
  auto [plan, replacements] = read_plan_bundle(path, source, any_weights);
  std::shared_ptr<const WeightChange> masks = read_plan_masks(path, plan, source);
  PlannedSurgery surgery{std::move(plan), std::move(replacements), std::move(masks)};
  for (const std::int64_t index : fill_initial_weights(source, seed, surgery)) {
    const Segment& segment = surgery.plan.segments[static_cast<std::size_t>(index)];
    log_warning("layers " + std::to_string(segment.first) + ".." + std::to_string(segment.last) +
                ": the plan has no weights for '" + segment.replacement + "'; it starts untrained");
  }
  return surgery;
}

std::string digest(const PlannedSurgery& surgery) {
  return digest(dump_json(to_json(surgery.plan)), surgery.replacements);
}

std::string digest_of_effect(const Plan& plan, const Replacements& replacements) {
  const Json json = to_json(plan);
  return digest(
      json.at("segments").dump() + json.value("slices", Json()).dump() + (plan.masks ? plan.masks->sha256 : ""),
      replacements);
}

PhasedModel phased_view(const Model& source, const std::string& path, const std::string& cut_in, std::uint64_t seed) {
  const CutIn phase = parse_cut_in(cut_in);
  if (path.empty() && phase != CutIn::everywhere)
    fail(ErrorKind::usage, "--cut-in ", cut_in, " needs a --plan that says what is cut");
  if (path.empty()) return source;
  const PlannedSurgery surgery = open_plan(path, source, seed);
  return {surgery.on(source), surgery.plan, surgery.replacements, phase};
}

void add_cut_in(Arguments& arguments, std::string& cut_in) {
  arguments.add("--cut-in", cut_in,
                "where the plan's cut counts: everywhere, decode (all layers read the prompt), or prefill (all layers "
                "go on from it, as ShortGPT-gen was released)",
                {.choices = {"everywhere", "decode", "prefill"}});
}

}  // namespace streamline::cli
