// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/layer_slice.h"

#include <algorithm>

namespace streamline {
namespace {

void check_units(const KeptUnits& units, std::int64_t has, const std::string& where, const char* what) {
  if (units.of != has)
    fail(ErrorKind::mismatch, where, " keeps ", units.count(), " of ", units.of, " ", what, "; the layer has ", has);
  if (units.kept.empty())
    fail(ErrorKind::mismatch, where, " keeps none of its ", has, " ", what, "; drop that half of the layer instead");
  std::int64_t next = 0;
  for (const std::int64_t unit : units.kept) {
    if (unit < next || unit >= units.of)
      fail(ErrorKind::mismatch, where, ": ", unit, " is not one of its ", has, " ", what, " in ascending order");
    next = unit + 1;
  }
}

void check_channels(const MlpConfig& mlp, const std::vector<KeptUnits>& channels, const std::string& where) {
  const std::size_t experts = mlp.experts ? static_cast<std::size_t>(mlp.experts->count) : 1;
  if (channels.size() != 1 && channels.size() != experts)
    fail(ErrorKind::mismatch, where, " has channels of ", channels.size(), " networks; the layer has ", experts);
  for (const KeptUnits& units : channels) {
    check_units(units, mlp.intermediate, where, mlp.experts ? "channels of an expert" : "channels");
    if (units.count() != channels.front().count())
      fail(ErrorKind::mismatch, where, " keeps ", units.count(), " channels of one expert and ",
           channels.front().count(), " of another; experts of one layer are of one width");
  }
}

// Of each unit all of its `size` rows, where unit u begins at first + u * stride.
void append_rows(std::vector<std::int64_t>& rows, const KeptUnits& units, std::int64_t first, std::int64_t stride,
                 std::int64_t size) {
  for (const std::int64_t unit : units.kept)
    for (std::int64_t i = 0; i < size; ++i) rows.push_back(unit < 0 ? -1 : first + unit * stride + i);
}

std::optional<TensorCut> attention_cut(const AttentionConfig& a, const KeptUnits& groups, Role role, Part part) {
  const std::int64_t head = a.head_dim, queries = a.heads / a.kv_heads * head;
  TensorCut cut;
  switch (role) {
    case Role::q:
      append_rows(cut.indices, groups, 0, queries, queries);
      return cut;
    case Role::k:
    case Role::v:
      append_rows(cut.indices, groups, 0, head, head);
      return cut;
    case Role::o:
      if (part == Part::bias) return std::nullopt;
      cut.dimension = 1;
      append_rows(cut.indices, groups, 0, queries, queries);
      return cut;
    case Role::qkv:
      if (a.layout == QkvLayout::grouped) {
        append_rows(cut.indices, groups, 0, queries + 2 * head, queries + 2 * head);
      } else {
        append_rows(cut.indices, groups, 0, queries, queries);
        append_rows(cut.indices, groups, a.heads * head, head, head);
        append_rows(cut.indices, groups, (a.heads + a.kv_heads) * head, head, head);
      }
      return cut;
    default:
      return std::nullopt;
  }
}

std::optional<TensorCut> mlp_cut(const MlpConfig& mlp, const KeptUnits& channels, Role role, Part part) {
  TensorCut cut;
  switch (role) {
    case Role::gate:
    case Role::up:
      cut.indices = channels.kept;
      return cut;
    case Role::gate_up:
      append_rows(cut.indices, channels, 0, 1, 1);
      append_rows(cut.indices, channels, mlp.intermediate, 1, 1);
      return cut;
    case Role::down:
      if (part == Part::bias) return std::nullopt;
      cut.dimension = 1;
      cut.indices = channels.kept;
      return cut;
    default:
      return std::nullopt;
  }
}

KeptUnits composed_units(const KeptUnits& first, const KeptUnits& second) {
  KeptUnits units{.of = first.of};
  for (const std::int64_t unit : second.kept) units.kept.push_back(first.kept.at(static_cast<std::size_t>(unit)));
  return units;
}

}  // namespace

void check_slice(const LayerConfig& layer, const LayerSlice& slice, const std::string& where) {
  if (slice.kv_heads) {
    if (!layer.attention) fail(ErrorKind::mismatch, where, " keeps heads of an attention that is not there");
    check_units(*slice.kv_heads, layer.attention->kv_heads, where, "key and value heads");
    if (layer.attention->qk_norm == QkNorm::whole && slice.kv_heads->removed() > 0)
      fail(ErrorKind::unsupported, where,
           ": this model's norms of q and k go over all heads together, so that no head can go without changing the "
           "others; slice its MLPs, or drop whole attentions");
  }
  if (slice.channels.empty()) return;
  if (!layer.mlp) fail(ErrorKind::mismatch, where, " keeps channels of an MLP that is not there");
  if (layer.mlp->experts && layer.mlp->experts->stacked)
    fail(ErrorKind::unsupported, where, ": the channels of experts that one tensor holds are not sliced; slice its ",
         "attention, or the MLPs of layers without experts");
  check_channels(*layer.mlp, slice.channels, where);
}

LayerConfig sliced_layer(LayerConfig layer, const LayerSlice& slice) {
  if (slice.kv_heads && layer.attention) {
    layer.attention->heads = layer.attention->heads / layer.attention->kv_heads * slice.kv_heads->count();
    layer.attention->kv_heads = slice.kv_heads->count();
  }
  if (!slice.channels.empty() && layer.mlp) layer.mlp->intermediate = slice.channels.front().count();
  return layer;
}

LayerSlice composed(const LayerSlice& first, const LayerSlice& second) {
  if (first.empty()) return second;
  LayerSlice result = first;
  if (second.kv_heads)
    result.kv_heads = first.kv_heads ? composed_units(*first.kv_heads, *second.kv_heads) : second.kv_heads;
  if (second.channels.empty()) return result;
  if (first.channels.empty()) {
    result.channels = second.channels;
    return result;
  }
  result.channels.clear();
  for (std::size_t i = 0; i < std::max(first.channels.size(), second.channels.size()); ++i)
    result.channels.push_back(composed_units(first.channels[first.channels.size() == 1 ? 0 : i],
                                             second.channels[second.channels.size() == 1 ? 0 : i]));
  return result;
}

LayerSlice whole_slice(const LayerConfig& layer) {
  const auto all = [](std::int64_t of) {
    KeptUnits units{.of = of};
    for (std::int64_t i = 0; i < of; ++i) units.kept.push_back(i);
    return units;
  };
  LayerSlice slice;
  if (layer.attention) slice.kv_heads = all(layer.attention->kv_heads);
  if (layer.mlp) slice.channels = {all(layer.mlp->intermediate)};
  return slice;
}

LayerSlice padded_slice(const LayerConfig& layer, LayerSlice slice, std::int64_t kv_heads, std::int64_t channels) {
  const auto pad = [](KeptUnits& units, std::int64_t count) {
    if (units.count() < count) units.kept.resize(static_cast<std::size_t>(count), -1);
  };
  const LayerSlice whole = whole_slice(layer);
  if (layer.attention) {
    if (!slice.kv_heads && kv_heads > layer.attention->kv_heads) slice.kv_heads = whole.kv_heads;
    if (slice.kv_heads) pad(*slice.kv_heads, kv_heads);
  }
  if (layer.mlp) {
    if (slice.channels.empty() && channels > layer.mlp->intermediate) slice.channels = whole.channels;
    for (KeptUnits& units : slice.channels) pad(units, channels);
  }
  return slice;
}

std::optional<TensorCut> tensor_cut(const LayerConfig& layer, const LayerSlice& slice, Role role, Part part,
                                    std::int64_t expert) {
  if (is_attention_role(role))
    return slice.kv_heads && layer.attention ? attention_cut(*layer.attention, *slice.kv_heads, role, part)
                                             : std::nullopt;
  if (slice.channels.empty() || !layer.mlp || layer.mlp->experts.has_value() != (expert >= 0)) return std::nullopt;
  const std::size_t network = slice.channels.size() == 1 ? 0 : static_cast<std::size_t>(expert);
  return mlp_cut(*layer.mlp, slice.channels.at(network), role, part);
}

std::int64_t kv_heads_of(const AttentionConfig& attention, std::int64_t heads, const std::string& where,
                         ErrorKind kind) {
  const std::int64_t group = attention.heads / attention.kv_heads;
  if (heads >= group && heads <= attention.heads && heads % group == 0) return heads / group;
  const std::int64_t below = std::min(heads / group * group, attention.heads), above = below + group;
  std::string nearest = std::to_string(below >= group ? below : group);
  if (below >= group && above <= attention.heads) nearest += " or " + std::to_string(above);
  fail(kind, where, ": ", heads, " of ", attention.heads, " heads are no whole groups; ", group,
       group == 1 ? " query head shares" : " query heads share", " a key and value head, and the nearest allowed is ",
       nearest);
}

KeptUnits groups_of_heads(const AttentionConfig& attention, const std::vector<std::int64_t>& heads,
                          const std::string& where) {
  const std::int64_t group = attention.heads / attention.kv_heads;
  kv_heads_of(attention, static_cast<std::int64_t>(heads.size()), where);
  KeptUnits units{.of = attention.kv_heads};
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const std::int64_t first = heads[i - i % static_cast<std::size_t>(group)];
    if (first % group != 0 || heads[i] != first + static_cast<std::int64_t>(i) % group)
      fail(ErrorKind::mismatch, where, ": head ", heads[i], " is kept without all of heads ", heads[i] / group * group,
           "..", heads[i] / group * group + group - 1, ", which share a key and value head");
    if (heads[i] == first) units.kept.push_back(first / group);
  }
  return units;
}

std::string index_ranges(const std::vector<std::int64_t>& indices) {
  std::string text;
  for (std::size_t i = 0; i < indices.size();) {
    std::size_t last = i;
    while (last + 1 < indices.size() && indices[last + 1] == indices[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(indices[i]);
    if (last > i) text += ".." + std::to_string(indices[last]);
    i = last + 1;
  }
  return text;
}

std::vector<std::int64_t> parse_index_ranges(const std::string& text, std::int64_t of, const std::string& where) {
  const auto refuse = [&](std::size_t at) {
    fail(ErrorKind::format, where, ": '", text.substr(at, 20), "' is no list of indices as 0..3,7 in ascending order, ",
         "below ", of);
  };
  std::vector<std::int64_t> indices;
  std::size_t at = 0;
  const auto number = [&]() -> std::int64_t {
    const std::size_t begin = at;
    std::int64_t value = 0;
    while (at < text.size() && at - begin < 9 && text[at] >= '0' && text[at] <= '9')
      value = value * 10 + text[at++] - '0';
    if (at == begin || value >= of) refuse(begin);
    return value;
  };
  while (at < text.size()) {
    const std::size_t begin = at;
    const std::int64_t first = number();
    std::int64_t last = first;
    if (text.compare(at, 2, "..") == 0) {
      at += 2;
      last = number();
    }
    if (last < first || (!indices.empty() && first <= indices.back())) refuse(begin);
    for (std::int64_t i = first; i <= last; ++i) indices.push_back(i);
    if (at < text.size() && (text[at] != ',' || ++at == text.size())) refuse(begin);
  }
  return indices;
}

}  // namespace streamline
