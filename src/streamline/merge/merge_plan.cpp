// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/merge_plan.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/merge/alignment.h"
#include "streamline/merge/largest_entries.h"
#include "streamline/surgery/renumber.h"

namespace streamline::merge {
namespace {

// Of the entries of a task vector that are kept at random: the first 64 bits of a digest of what it is.
std::uint64_t entries_seed(std::uint64_t seed, std::size_t operand, const std::string& name) {
  const std::string digest = sha256(std::to_string(seed) + "/" + std::to_string(operand) + "/" + name);
  return std::stoull(digest.substr(0, 16), nullptr, 16);
}

std::string layer_name(const LayerStack& stack, std::int64_t layer, std::string_view suffix) {
  return stack.prefix + std::to_string(layer) + "." + std::string(suffix);
}

void check_parameters(const Rule& rule, const Parameters& p, const std::string& name) {
  const auto refuse = [&](const char* what, double value, const char* expected) {
    fail(ErrorKind::usage, "'", name, "': ", what, " is ", value, "; expected ", expected);
  };
  double total = 0;
  for (const double weight : p.weights) {
    if (!std::isfinite(weight)) refuse("a weight", weight, "a number");
    total += weight;
  }
  if (rule.combine == Combine::average && p.normalise && total == 0) refuse("the sum of the weights", 0, "another");
  for (const double density : p.densities)
    if (!(density > 0 && density <= 1)) refuse("a density", density, "a share above 0 and up to 1");
  if (!std::isfinite(p.scale)) refuse("the scale", p.scale, "a number");
  if (!std::isfinite(p.t)) refuse("t", p.t, "a number");
}

// Fills a plan tensor by tensor.
class Planner {
 public:
  explicit Planner(Request request) : plan_{.request = std::move(request)} {
    for (const Source& model : models()) contents_.push_back(contents_of(model));
    used_.resize(models().size());
  }

  MergePlan run() {
    map_layers();
    for (const TensorInfo* tensor : contents_[request().reference].outside) {
      const bool before = is_before_layers(contents_[request().reference], tensor->name);
      add_outside(before ? 0 : request().slices.size() - 1, *tensor);
    }
    std::int64_t layer = 0;
    for (std::size_t slice = 0; slice < request().slices.size(); ++slice)
      for (std::int64_t offset = 0; offset < request().slices[slice].count; ++offset) add_layer(slice, offset, layer++);
    check_surplus();
    add_notes();
    return std::move(plan_);
  }

 private:
  const Request& request() const { return plan_.request; }
  const std::vector<Source>& models() const { return plan_.request.models; }
  const Source& reference() const { return models()[request().reference]; }

  // The model whose tensors are listed for a slice, and its layers: the reference, if it takes part.
  SliceSource listed(const Slice& slice) const {
    if (slice.base && slice.base->model == request().reference) return *slice.base;
    for (const SliceSource& operand : slice.operands)
      if (operand.model == request().reference) return operand;
    return slice.base.value_or(slice.operands.front());
  }

  void map_layers() {
    plan_.map.before = reference().stack.layers;
    for (const Slice& slice : request().slices) {
      for (const SliceSource& source : slice.operands) check_range(source, slice.count);
      if (slice.base) check_range(*slice.base, slice.count);
      const SliceSource from = listed(slice);
      if (from.first + slice.count > plan_.map.before)
        fail(ErrorKind::mismatch, models()[from.model].name, ": its layers ", from.first, "..",
             from.first + slice.count - 1, " go beyond the ", plan_.map.before, " of ", reference().name,
             ", whose config.json the result has; name another base");
      for (std::int64_t i = 0; i < slice.count; ++i) plan_.map.origins.push_back(from.first + i);
    }
    const bool identity = plan_.map.after() == plan_.map.before && std::ranges::is_sorted(plan_.map.origins) &&
                          plan_.map.origins.front() == 0 && plan_.map.origins.back() == plan_.map.before - 1;
    if (reference().stack.further > 0 && !identity)
      fail(ErrorKind::unsupported, reference().name, ": has layers beyond the stack that predict further tokens; ",
           "such models are merged whole, not in slices");
  }

  void check_range(const SliceSource& source, std::int64_t count) const {
    const Source& model = models()[source.model];
    if (source.first < 0 || count < 1 || source.first + count > model.stack.layers)
      fail(ErrorKind::mismatch, model.name, ": has layers 0..", model.stack.layers - 1, "; the merge asks for ",
           source.first, "..", source.first + count - 1);
  }

  Stored stored(std::size_t model, const TensorInfo& tensor, const TensorInfo& like, std::size_t listed) {
    const bool vocabulary = is_vocabulary(contents_[listed], like) && tensor.shape.size() == 2;
    const bool grown = vocabulary && request().union_vocabulary && tensor.shape.back() == like.shape.back();
    if (!grown)
      check_same_shape(models()[model], tensor, models()[listed], like,
                       vocabulary ? "; --union-vocabulary takes the rows of both" : "");
    used_[model].insert(&tensor);
    const Source& source = models()[model];
    return {source.checkpoint, &tensor, source.adapter ? source.adapter(tensor.name) : Update{}};
  }

  void add_outside(std::size_t slice, const TensorInfo& tensor) {
    const auto find = [&](const SliceSource& source) -> const TensorInfo& {
      return counterpart(models()[source.model], contents_[source.model], tensor.name, reference());
    };
    add(slice, 0, -1, tensor.name, tensor, request().reference, find);
  }

  void add_layer(std::size_t slice, std::int64_t offset, std::int64_t layer) {
    const Slice& what = request().slices[slice];
    const SliceSource from = listed(what);
    const Source& source = models()[from.model];
    const double t = what.count > 1 ? static_cast<double>(offset) / static_cast<double>(what.count - 1) : 1;
    for (const TensorInfo* tensor : contents_[from.model].layers[static_cast<std::size_t>(from.first + offset)]) {
      const std::string suffix(parse_stack_tensor(source.stack, tensor->name)->suffix);
      const auto find = [&](const SliceSource& other) -> const TensorInfo& {
        const std::string name = layer_name(models()[other.model].stack, other.first + offset, suffix);
        return counterpart(models()[other.model], contents_[other.model], name, source);
      };
      add(slice, t, layer, layer_name(reference().stack, layer, suffix), *tensor, from.model, find);
    }
  }

  void add(std::size_t slice, double t, std::int64_t layer, std::string name, const TensorInfo& tensor,
           std::size_t listed, const auto& find) {
    const Slice& what = request().slices[slice];
    if (!tensor.is_plain())
      fail(ErrorKind::unsupported, models()[listed].checkpoint->path_of(tensor), ": '", tensor.name,
           "' is quantised; merge the unquantised models and quantise the result");
    TensorMerge merge{.header = {name, tensor.dtype, tensor.shape}, .layer = layer};
    Place place{.slice = slice, .t = t, .name = std::move(name)};
    const std::shared_ptr<const Checkpoint> base = what.base ? models()[what.base->model].checkpoint : nullptr;
    for (const SliceSource& operand : what.operands) {
      const TensorInfo& found = find(operand);
      place.operands.push_back(found.name);
      merge.operands.push_back(
          {.stored = stored(operand.model, found, tensor, listed),
           .beside_base = models()[operand.model].adapter && models()[operand.model].checkpoint == base,
           .seed = entries_seed(request().seed, merge.operands.size(), merge.header.name)});
    }
    if (what.base) merge.base = stored(what.base->model, find(*what.base), tensor, listed);
    if (request().union_vocabulary && is_vocabulary(contents_[listed], tensor)) join_rows(what, merge);
    if (is_floating(tensor.dtype)) {
      merge.rule = request().rule;
      merge.header.dtype = request().dtype.value_or(tensor.dtype);
      merge.parameters = request().parameters(place);
      check_parameters(*merge.rule, merge.parameters, merge.header.name);
    }
    plan_.tensors.push_back(std::move(merge));
  }

  // The result has the rows of all.
  void join_rows(const Slice& slice, TensorMerge& merge) {
    std::int64_t& rows = merge.header.shape.front();
    const std::int64_t listed = rows;
    bool differ = false;
    const auto widen = [&](const Stored& stored, std::size_t model) {
      const std::int64_t own = stored.tensor->shape.front();
      differ = differ || own != listed;
      if (own > rows || plan_.widest.empty()) plan_.widest = models()[model].name;
      rows = std::max(rows, own);
    };
    if (slice.base) widen(merge.base, slice.base->model);
    for (std::size_t i = 0; i < merge.operands.size(); ++i) widen(merge.operands[i].stored, slice.operands[i].model);
    if (!differ) return;
    plan_.vocabulary = rows;
    std::vector<Stored> who;  // whose rows stand for those that another lacks
    for (const Operand& operand : merge.operands) who.push_back(operand.stored);
    if (slice.base && merge.base.tensor->shape.front() < rows) merge.base.beyond = who;
    if (slice.base) who = {merge.base};
    for (Operand& operand : merge.operands)
      if (operand.stored.tensor->shape.front() < rows) operand.stored.beyond = who;
  }

  // A model's own tensors that nothing of the result is made from: of the layers that take part, and outside the
  // layers where the model has a part in both ends.
  void check_surplus() const {
    for (std::size_t model = 0; model < models().size(); ++model) {
      const auto among = [&](const Slice& slice) {
        return std::ranges::any_of(slice.operands, [&](const SliceSource& s) { return s.model == model; });
      };
      for (const auto& layer : contents_[model].layers) {
        const bool partly = std::ranges::any_of(layer, [&](const TensorInfo* t) { return used_[model].count(t) != 0; });
        if (partly) check_all_used(models()[model], layer, used_[model], reference());
      }
      if (among(request().slices.front()) && among(request().slices.back()))
        check_all_used(models()[model], contents_[model].outside, used_[model], reference());
    }
  }

  void add_notes() {
    const Contents& contents = contents_[request().reference];
    if (contents.tied && reference().checkpoint->find(contents.head) != nullptr)
      plan_.notes.push_back(contents.head + " is tied to the embedding and is left out");
    constexpr const char* kTokenizer = "tokenizer.json";
    const FileSet& files = reference().checkpoint->files();
    for (const Source& model : models()) {
      const FileSet& others = model.checkpoint->files();
      if (!files.contains(kTokenizer) || !others.contains(kTokenizer)) continue;
      if (files.open(kTokenizer).text() != others.open(kTokenizer).text())
        plan_.notes.push_back(model.name + ": its tokenizer.json is not that of " + reference().name +
                              ", which the result has; make sure that the same ids mean the same");
    }
  }

  MergePlan plan_;
  std::vector<Contents> contents_;
  std::vector<std::set<const TensorInfo*>> used_;
};

}  // namespace

Source make_source(std::string name, std::shared_ptr<const Checkpoint> checkpoint) {
  LayerStack stack = find_layer_stack(*checkpoint);
  return {.name = std::move(name), .checkpoint = std::move(checkpoint), .stack = std::move(stack)};
}

std::vector<Slice> whole_models(const std::vector<Source>& models, const std::vector<std::size_t>& operands,
                                std::optional<std::size_t> base) {
  Slice slice{.count = models[base.value_or(operands.front())].stack.layers};
  for (const std::size_t model : operands) {
    const Source& first = models[base.value_or(operands.front())];
    if (models[model].stack.layers != slice.count)
      fail(ErrorKind::mismatch, models[model].name, ": has ", models[model].stack.layers, " layers; ", first.name,
           " has ", slice.count);
    slice.operands.push_back({model, 0});
  }
  if (base) slice.base = SliceSource{*base, 0};
  return {slice};
}

Json result_config(const MergePlan& plan, const Json& provenance, std::vector<std::string>& notes) {
  const Source& reference = plan.request.models[plan.request.reference];
  Json config = renumbered_config(*reference.checkpoint, reference.stack, plan.map, provenance, notes);
  Json& text = text_config(config, reference.stack);
  if (plan.request.dtype) {
    const DType dtype = *plan.request.dtype;
    const char* name = dtype == DType::f32 ? "float32" : dtype == DType::f16 ? "float16" : "bfloat16";
    for (Json* object : {&config, &text})
      for (const char* key : {"torch_dtype", "dtype"})  // the spellings of transformers 4 and 5
        if (object->contains(key)) (*object)[key] = name;
  }
  if (plan.vocabulary) text["vocab_size"] = *plan.vocabulary;
  return config;
}

MergePlan plan_merge(Request request) {
  SL_ASSERT(request.rule != nullptr && !request.slices.empty());
  const Rule& rule = *request.rule;
  for (const Slice& slice : request.slices) {
    const std::size_t count = slice.operands.size();
    if (count == 0) fail(ErrorKind::usage, "there is no model to merge");
    if (rule.needs_base && !slice.base) fail(ErrorKind::usage, "the rule ", rule.name, " needs a base model");
    if (rule.combine == Combine::slerp && count > 2)
      fail(ErrorKind::usage, "the rule slerp takes two models; there are ", count);
    if (rule.combine == Combine::passthrough && count > 1)
      fail(ErrorKind::usage, "the rule passthrough takes one model a slice; there are ", count);
  }
  return Planner(std::move(request)).run();
}

void scale_by_depth(MergePlan& plan, const Lines& lines) {
  for (TensorMerge& merge : plan.tensors) {
    if (merge.rule == nullptr) continue;
    if (merge.base.tensor == nullptr)
      fail(ErrorKind::usage, "scaling by depth needs a base model, which the rule ", merge.rule->name,
           " itself does not");
    merge.parameters.depth = depth_factor(lines, merge.layer, plan.map.after());
  }
}

void take_model_thresholds(MergePlan& plan) {
  const auto takes_part = [](const TensorMerge& merge) {
    return merge.rule != nullptr && merge.rule->keep == Keep::largest;
  };
  std::vector<const TensorMerge*> tensors;
  for (const TensorMerge& merge : plan.tensors)
    if (takes_part(merge)) tensors.push_back(&merge);
  if (tensors.empty()) return;
  const std::vector<float> thresholds = model_thresholds(tensors);
  for (TensorMerge& merge : plan.tensors)
    for (std::size_t i = 0; takes_part(merge) && i < thresholds.size(); ++i)
      merge.operands[i].threshold = thresholds[i];
}

std::vector<Norms> norms_by_layer(const MergePlan& plan) {
  std::vector<Norms> layers(static_cast<std::size_t>(plan.map.after()) + 1);
  Progress progress("measuring task vectors", static_cast<std::int64_t>(plan.tensors.size()), "tensors");
  for (const TensorMerge& merge : plan.tensors) {
    (merge.layer < 0 ? layers.back() : layers[static_cast<std::size_t>(merge.layer)]) += norms(merge);
    progress.advance(1);
  }
  return layers;
}

}  // namespace streamline::merge
