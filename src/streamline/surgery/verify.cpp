// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/verify.h"

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

#include "streamline/arch/names.h"
#include "streamline/base/error.h"

namespace streamline {

namespace {

// Largest relative difference of logits by compute type. A copied layer gives the very same numbers; a folded one is
// summed in another order: one rounding of the type here and there.
struct Tolerance {
  torch::ScalarType type;
  double relative;
};
constexpr std::array kTolerances = {Tolerance{torch::kFloat64, 1e-10}, Tolerance{torch::kFloat32, 1e-5},
                                    Tolerance{torch::kFloat16, 1e-2}, Tolerance{torch::kBFloat16, 3e-2}};
constexpr std::int64_t kTokens = 24;

double tolerance(torch::ScalarType type) {
  const auto* found =
      std::find_if(kTolerances.begin(), kTolerances.end(), [&](const Tolerance& t) { return t.type == type; });
  return found == kTolerances.end() ? 0 : found->relative;
}

void check_names(const Checkpoint& checkpoint, const Family& family, std::int64_t layers) {
  std::set<std::int64_t> seen;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (const auto place = parse_layer_tensor(family, tensor.name)) seen.insert(place->layer);
  }
  const bool contiguous = static_cast<std::int64_t>(seen.size()) == layers &&
                          (seen.empty() || (*seen.begin() == 0 && *seen.rbegin() == layers - 1));
  if (!contiguous) fail(ErrorKind::internal, "the written layers are not 0..", layers - 1);
}

// Everything that lists in config.json decide layer by layer.
void check_patterns(const Config& written, const Config& expected) {
  for (std::int64_t i = 0; i < expected.layer_count(); ++i) {
    const LayerConfig &before = expected.layers[i], &after = written.layers[i];
    if (before.attention && after.attention && before.attention->window != after.attention->window) {
      fail(ErrorKind::internal, "layer ", i, " was written with the attention window ",
           after.attention->window.value_or(0), " instead of ", before.attention->window.value_or(0));
    }
    if (before.attention && after.attention &&
        (before.attention->chunk != after.attention->chunk ||
         before.attention->temperature != after.attention->temperature))
      fail(ErrorKind::internal, "layer ", i, " was written with other chunks or another temperature than it has");
    if (before.attention && after.attention && before.attention->rope != after.attention->rope)
      fail(ErrorKind::internal, "layer ", i, " was written with another rotary embedding than it has");
    if (before.mlp && after.mlp && before.mlp->experts != after.mlp->experts)
      fail(ErrorKind::internal, "layer ", i, " was written with other experts than it has");
  }
}

// Whether the same tensors give the same logits under both.
bool computes_alike(const Config& a, const Config& b) {
  const auto settings = [](const Config& c) {
    return std::tie(c.family, c.hidden, c.vocab, c.max_positions, c.norm_epsilon, c.tied_embeddings, c.rope,
                    c.local_rope, c.layers, c.embedding_width, c.final_norm, c.normalised_head, c.scale);
  };
  return settings(a) == settings(b);
}

// Of equal length, and equal in pieces that are spread from the first byte to the last.
bool same_samples(std::span<const std::byte> a, std::span<const std::byte> b) {
  constexpr std::size_t kSamples = 16, kBytes = 4096;
  if (a.size() != b.size()) return false;
  if (a.size() <= kSamples * kBytes) return std::ranges::equal(a, b);
  for (std::size_t i = 0; i < kSamples; ++i) {
    const std::size_t first = (a.size() - kBytes) * i / (kSamples - 1);
    if (!std::ranges::equal(a.subspan(first, kBytes), b.subspan(first, kBytes))) return false;
  }
  return true;
}

// Errors: numeric where the expected logits are NaN or infinite; internal where the difference is more than rounding.
double logit_difference(const Model& written, const Model& expected) {
  const torch::Tensor ids = fixed_tokens(expected.config());
  const torch::Tensor meant = forward_logits(expected, ids);
  if (!torch::isfinite(meant).all().item<bool>()) check_finite(expected.checkpoint());
  const double difference = relative_difference(forward_logits(written, ids), meant);
  if (difference > tolerance(expected.placement().dtype))
    fail(ErrorKind::internal, "its logits differ from those of the model in memory by ", difference,
         " of the largest logit");
  return difference;
}

}  // namespace

torch::Tensor fixed_tokens(const Config& config) {
  const std::int64_t count = config.max_positions > 0 ? std::min(kTokens, config.max_positions) : kTokens;
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back((i * 7919 + 11) % config.vocab);
  return torch::tensor(ids, torch::kInt64).unsqueeze(0);  // [1, count]
}

double relative_difference(const torch::Tensor& a, const torch::Tensor& b) {
  if (a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  const torch::Tensor wide = b.to(torch::kFloat64);
  const double largest = (a.to(torch::kFloat64) - wide).abs().max().item<double>();
  const double scale = wide.abs().max().item<double>();
  if (!std::isfinite(largest) || !std::isfinite(scale)) return std::numeric_limits<double>::infinity();
  return scale > 0 ? largest / scale : largest;
}

bool has_tensors(const Checkpoint& written, const std::vector<TensorSource>& meant) {
  if (written.tensors().size() != meant.size()) return false;
  return std::ranges::all_of(meant, [&](const TensorSource& tensor) {
    const TensorInfo* found = written.find(tensor.header.name);
    return found != nullptr && found->dtype == tensor.header.dtype && found->shape == tensor.header.shape &&
           same_samples(written.bytes(*found), tensor.bytes().bytes);
  });
}

void verify_result(const Model& expected, const std::vector<TensorSource>& tensors, Checked check,
                   const std::filesystem::path& directory, AppliedPlan& applied) {
  const torch::NoGradGuard no_grad;
  try {
    const Model written = Model::open(Checkpoint::open(directory), expected.placement());
    if (written.layer_count() != expected.layer_count())
      fail(ErrorKind::internal, written.layer_count(), " layers were written; ", expected.layer_count(), " expected");
    check_names(written.checkpoint(), *written.config().family, expected.layer_count());
    check_patterns(written.config(), expected.config());
    applied.layers = written.layer_count();
    applied.parameters = written.parameters();
    applied.bytes = written.checkpoint().total_bytes();
    if (check == Checked::files) return;
    if (check == Checked::tensors) {
      if (!has_tensors(written.checkpoint(), tensors)) fail(ErrorKind::internal, "its tensors are not the source's");
      applied.checked = Checked::tensors;
      if (computes_alike(written.config(), expected.config())) return;
    }
    applied.checked = Checked::logits;
    applied.largest_logit_difference = logit_difference(written, expected);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted || error.kind() == ErrorKind::numeric) throw;
    fail(ErrorKind::internal,
         "the written checkpoint did not pass its check and was removed; please report it: ", error.what());
  }
}

}  // namespace streamline
