// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/cut_request.h"

#include <algorithm>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr const char* kHowMuch = ": say how much goes, e.g. --sparsity 0.2, or what is left, e.g. --budget params=0.8x";

}  // namespace

Param sparsity_param() {
  return {.name = "sparsity",
          .type = ParamType::number,
          .help =
              "share of all parameters (embeddings and head included) to save, between 0 and 1: the cut that comes "
              "closest, what is put back counted"};
}

Param protect_param() {
  return {.name = "protect",
          .type = ParamType::integers,
          .help = "layers of which nothing is cut, e.g. 0,1,28-29",
          .default_value = Json::array()};
}

Params cut_params() {
  return {{.name = "layers",
           .type = ParamType::integer,
           .help = "layers fewer in the result, as LLM-Streamline counts: a replacement that is a layer is put back "
                   "for one more that is cut",
           .minimum = 1},
          {.name = "cut", .type = ParamType::integer, .help = "layers to cut, whatever replaces them", .minimum = 1},
          sparsity_param(),
          protect_param()};
}

CutRequest read_cut_request(const PruneContext& context, const Json& params, std::string_view method) {
  CutRequest request{.layers = optional_value<std::int64_t>(params, "layers"),
                     .cut = optional_value<std::int64_t>(params, "cut"),
                     .protect = params.at("protect").get<std::vector<std::int64_t>>()};
  const std::optional<double> sparsity = read_sparsity(params, method, {"layers", "cut", "sparsity"});
  check_protected(request.protect, context.model.layer_count());
  request.sparsity = sparsity.value_or(0);
  if (request.layers && *request.layers < 1) fail(ErrorKind::usage, "--layers ", *request.layers, ": at least 1");
  return request;
}

std::optional<double> read_sparsity(const Json& params, std::string_view method,
                                    const std::vector<std::string>& sizes) {
  const auto given = std::ranges::count_if(sizes, [&](const std::string& size) { return !params.at(size).is_null(); });
  if (given != 1) {
    std::string names;
    for (std::size_t i = 0; i < sizes.size(); ++i)
      names += (i == 0 ? "--" : i + 1 < sizes.size() ? ", --" : " and --") + sizes[i];
    fail(ErrorKind::usage, method, " needs exactly one of ", names, "; ", given, " are given",
         given == 0 ? kHowMuch : "");
  }
  const auto sparsity = optional_value<double>(params, "sparsity");
  // resolve_params allows the ends of a range; here they are outside. NaN fails too.
  if (sparsity && !(*sparsity > 0 && *sparsity < 1))
    fail(ErrorKind::usage, "--sparsity ", *sparsity, ": must lie between 0 and 1, both excluded");
  return sparsity;
}

void check_protected(const std::vector<std::int64_t>& protect, std::int64_t layers) {
  for (const std::int64_t layer : protect)
    if (layer < 0 || layer >= layers)
      fail(ErrorKind::usage, "--protect ", layer, ": the model has layers 0..", layers - 1);
}

std::optional<std::int64_t> requested_count(const CutRequest& request, const PruneContext& context, std::int64_t runs) {
  if (request.cut) return request.cut;
  if (request.layers) return *request.layers + runs * context.replacement.layers;
  return std::nullopt;
}

std::int64_t most_layers(const PruneContext& context) { return context.model.layer_count() - 1; }

void check_count(std::int64_t count, const PruneContext& context) {
  if (count >= 1 && count <= most_layers(context)) return;
  const std::int64_t back = context.replacement.layers;
  fail(ErrorKind::usage, "cutting ", count, " of ", context.model.layer_count(), " layers: 1 to ", most_layers(context),
       " can be cut", back > 0 ? "; --layers N cuts " + std::to_string(back) + " more, for what is put back" : "");
}

bool holds_any(const std::vector<std::int64_t>& layers, std::int64_t start, std::int64_t count) {
  return std::any_of(layers.begin(), layers.end(),
                     [&](std::int64_t layer) { return layer >= start && layer < start + count; });
}

std::int64_t parameters_saved(const PruneContext& context, const std::vector<LayerRun>& runs) {
  const Config& config = context.model.config();
  std::int64_t saved = 0;
  for (const auto& [first, count] : runs) {
    for (std::int64_t layer = first; layer < first + count; ++layer)
      saved += layer_parameters(config, config.layers[static_cast<std::size_t>(layer)]);
    saved -= context.replacement.parameters_at(first);
  }
  return saved;
}

double sparsity_of(const PruneContext& context, const std::vector<LayerRun>& runs) {
  return static_cast<double>(parameters_saved(context, runs)) / static_cast<double>(context.model.parameters());
}

std::int64_t parameters_saved(const PruneContext& context, const Plan& plan, const Replacements& replacements) {
  return context.model.parameters() - context.model.view(plan, replacements).parameters();
}

Json savings(const PruneContext& context, const Plan& plan, const Replacements& replacements) {
  const std::int64_t saved = parameters_saved(context, plan, replacements);
  return {{"parameters_saved", saved},
          {"sparsity", static_cast<double>(saved) / static_cast<double>(context.model.parameters())}};
}

}  // namespace streamline
