// SPDX-License-Identifier: Apache-2.0
#include "streamline/merge/mergekit_file.h"

#include <algorithm>
#include <map>

#include "streamline/base/error.h"
#include "streamline/base/yaml.h"
#include "streamline/merge/mergekit_settings.h"

namespace streamline::merge {
namespace {

// The parameters that a method looks at, beside those that change nothing here.
struct MethodParameters {
  std::string_view method;
  std::vector<std::string_view> names;
};
const std::vector<MethodParameters>& method_parameters() {
  static const std::vector<MethodParameters> known = {
      {"linear", {"weight", "normalize"}},
      {"slerp", {"t"}},
      {"task_arithmetic", {"weight", "normalize", "lambda"}},
      {"ties", {"weight", "density", "normalize", "rescale", "lambda"}},
      {"dare_linear", {"weight", "density", "normalize", "rescale", "lambda"}},
      {"dare_ties", {"weight", "density", "normalize", "rescale", "lambda"}},
      {"passthrough", {"scale"}},
  };
  return known;
}

const Rule& rule_of(const std::string& method, const std::string& where) {
  std::string known;
  for (const Rule& rule : rules()) {
    if (rule.mergekit == method) return rule;
    if (!rule.mergekit.empty()) known.append(known.empty() ? "" : ", ").append(rule.mergekit);
  }
  fail(ErrorKind::unsupported, where, ": the merge_method '", method, "' is not one of ", known);
}

void check_keys(const Json& object, const std::vector<std::string_view>& known, const std::string& where) {
  if (!object.is_object()) fail(ErrorKind::format, where, ": expected keys with values, not ", object.dump());
  for (const auto& [key, value] : object.items())
    if (std::ranges::find(known, key) == known.end())
      fail(ErrorKind::unsupported, where, ": the key '", key, "' is not one that this program knows");
}

const Json* parameters_of(const Json& object) {
  const auto found = object.find("parameters");
  return found == object.end() ? nullptr : &*found;
}

std::optional<DType> output_type(const Json& file, const std::string& where) {
  for (const char* key : {"out_dtype", "dtype"}) {
    const auto name = json_string(file, key, where);
    if (!name) continue;
    if (*name == "float32") return DType::f32;
    if (*name == "float16") return DType::f16;
    if (*name == "bfloat16") return DType::bf16;
    fail(ErrorKind::unsupported, where, ": '", key, "' is '", *name, "'; expected float32, float16 or bfloat16");
  }
  return std::nullopt;
}

class Reader {
 public:
  Reader(std::string_view yaml, std::string where, const std::function<Source(const std::string&)>& open)
      : where_(std::move(where)), open_(open), file_(std::make_shared<const Json>(parse_yaml(yaml, where_))) {}

  MergekitFile read() {
    check_keys(*file_,
               {"merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype",
                "tokenizer_source", "chat_template", "name"},
               where_);
    const std::string method = json_string(*file_, "merge_method", where_).value_or("");
    if (method.empty()) fail(ErrorKind::format, where_, ": lacks 'merge_method'");
    Request& request = result_.request;
    request.rule = &rule_of(method, where_);
    request.dtype = output_type(*file_, where_);
    if (const auto base = json_string(*file_, "base_model", where_)) base_ = model(*base);
    if (file_->contains("models") == file_->contains("slices"))
      fail(ErrorKind::format, where_, ": expected either 'models' or 'slices'");
    if (file_->contains("models")) {
      read_models();
    } else {
      read_slices();
    }
    request.reference = base_.value_or(0);
    request.parameters = settings();
    read_tokenizer();
    note_ignored(*file_, method, where_);
    return std::move(result_);
  }

 private:
  // Where the parameters of a slice stand: the file's, the slice's, and one object an operand.
  struct Levels {
    const Json* slice = nullptr;
    std::vector<const Json*> operands = {};
  };

  std::size_t model(const std::string& name) {
    const auto found = models_.find(name);
    if (found != models_.end()) return found->second;
    result_.request.models.push_back(open_(name));
    return models_[name] = result_.request.models.size() - 1;
  }

  std::size_t model_in(const Json& entry, const std::string& where) {
    const auto name = json_string(entry, "model", where);
    if (!name) fail(ErrorKind::format, where, ": lacks 'model'");
    return model(*name);
  }

  const Json& list(const Json& object, const char* key, const std::string& where) const {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_array() || found->empty())
      fail(ErrorKind::format, where, ": '", key, "' is not a list of models");
    return *found;
  }

  // Every model with all its layers, the base among them.
  void read_models() {
    std::vector<std::pair<SliceSource, const Json*>> sources;
    for (const Json& entry : list(*file_, "models", where_)) {
      check_keys(entry, {"model", "parameters"}, where_);
      sources.push_back({{model_in(entry, where_), 0}, parameters_of(entry)});
    }
    const bool base_listed =
        std::ranges::any_of(sources, [&](const auto& source) { return base_ && source.first.model == *base_; });
    if (base_ && !base_listed) sources.push_back({{*base_, 0}, nullptr});
    const std::vector<Source>& models = result_.request.models;
    const std::int64_t layers = models[sources.front().first.model].stack.layers;
    for (const auto& [source, parameters] : sources)
      if (models[source.model].stack.layers != layers)
        fail(ErrorKind::mismatch, where_, ": ", models[source.model].name, " has ", models[source.model].stack.layers,
             " layers; ", models[sources.front().first.model].name, " has ", layers,
             "; say which of them with 'slices'");
    add_slice(layers, sources, base_, nullptr, base_listed);
  }

  void read_slices() {
    for (const Json& entry : list(*file_, "slices", where_)) {
      check_keys(entry, {"sources", "base_model", "parameters"}, where_);
      std::optional<std::size_t> base = base_;
      if (const auto name = json_string(entry, "base_model", where_)) base = model(*name);
      std::vector<std::pair<SliceSource, const Json*>> sources;
      std::optional<std::int64_t> count;
      for (const Json& source : list(entry, "sources", where_)) {
        check_keys(source, {"model", "layer_range", "parameters"}, where_);
        const auto [first, last] = layer_range(source);
        if (count.value_or(last - first) != last - first)
          fail(ErrorKind::format, where_, ": the sources of a slice have ", *count, " and ", last - first,
               " layers; they must have the same number");
        count = last - first;
        sources.push_back({{model_in(source, where_), first}, parameters_of(source)});
      }
      add_slice(*count, sources, base, parameters_of(entry), true);
    }
  }

  std::pair<std::int64_t, std::int64_t> layer_range(const Json& source) const {
    const auto range = source.find("layer_range");
    const bool sound = range != source.end() && range->is_array() && range->size() == 2 &&
                       (*range)[0].is_number_integer() && (*range)[1].is_number_integer();
    if (!sound) fail(ErrorKind::format, where_, ": a source lacks 'layer_range', two numbers [first, last + 1]");
    const auto first = (*range)[0].get<std::int64_t>(), last = (*range)[1].get<std::int64_t>();
    if (first < 0 || last <= first)
      fail(ErrorKind::format, where_, ": the layer_range ", range->dump(), " holds no layers");
    return {first, last};
  }

  void add_slice(std::int64_t count, const std::vector<std::pair<SliceSource, const Json*>>& sources,
                 std::optional<std::size_t> base, const Json* parameters, bool base_listed) {
    const Combine combine = result_.request.rule->combine;
    Slice slice{.count = count};
    Levels levels{.slice = parameters};
    for (const auto& [source, own] : sources) {
      const bool is_base = base && source.model == *base;
      if (is_base) slice.base = source;
      if (is_base && (combine == Combine::task_vectors || (combine == Combine::average && !base_listed))) continue;
      for (const SliceSource& operand : slice.operands)
        if (operand.model == source.model)
          fail(ErrorKind::format, where_, ": ", result_.request.models[source.model].name,
               " stands twice among the sources of one slice");
      const bool first = combine == Combine::slerp && is_base;
      slice.operands.insert(first ? slice.operands.begin() : slice.operands.end(), source);
      levels.operands.insert(first ? levels.operands.begin() : levels.operands.end(), own);
    }
    if (!slice.base && (combine == Combine::task_vectors || (combine == Combine::slerp && sources.size() > 1)))
      fail(ErrorKind::format, where_,
           base ? ": the base_model is not among the sources of a slice"
                : ": lacks 'base_model', which the method needs");
    result_.request.slices.push_back(std::move(slice));
    levels_.push_back(std::move(levels));
  }

  std::function<Parameters(const Place&)> settings() const {
    return [file = file_, levels = levels_, rule = result_.request.rule, where = where_](const Place& place) {
      const Levels& level = levels[place.slice];
      const auto of_merge = [&](const char* name) {
        return find_setting({level.slice, parameters_of(*file)}, name, place.name, place.t, where);
      };
      Parameters p;
      p.normalise = of_merge("normalize").value_or(rule->normalise ? 1 : 0) != 0;
      const bool rescaled = of_merge("rescale").value_or(rule->keep == Keep::random ? 1 : 0) != 0;
      p.rescale = rescaled && rule->keep != Keep::all ? Rescale::l1 : Rescale::none;
      if (rule->combine == Combine::task_vectors) p.scale = of_merge("lambda").value_or(1);
      if (rule->combine == Combine::slerp) p.t = required(of_merge("t"), "t", place.name, where);
      for (std::size_t i = 0; i < place.operands.size(); ++i) {
        const auto of_model = [&](const char* name) {
          return find_setting({level.operands[i], level.slice, parameters_of(*file)}, name, place.operands[i], place.t,
                              where);
        };
        if (rule->combine == Combine::passthrough) p.scale = of_model("scale").value_or(1);
        const bool weighted = rule->combine == Combine::task_vectors || rule->combine == Combine::average;
        p.weights.push_back(weighted ? required(of_model("weight"), "weight", place.operands[i], where) : 1);
        p.densities.push_back(rule->keep == Keep::all ? 1 : of_model("density").value_or(1));
      }
      return p;
    };
  }

  static double required(std::optional<double> value, const char* name, const std::string& tensor,
                         const std::string& where) {
    if (!value) fail(ErrorKind::format, where, ": no '", name, "' is given for ", tensor);
    return *value;
  }

  void read_tokenizer() {
    if (const auto name = json_string(*file_, "tokenizer_source", where_)) {
      if (*name == "union")
        fail(ErrorKind::unsupported, where_, ": tokenizer_source 'union' is not done here; expected base, or a model");
      if (*name != "base") result_.tokenizer = result_.request.models[model(*name)].name;
    }
    if (const auto name = json_string(*file_, "chat_template", where_); name && *name != "auto")
      fail(ErrorKind::unsupported, where_, ": a chat_template is not put in; it is copied with the tokenizer");
  }

  // What mergekit passes over, too.
  void note_ignored(const Json& level, const std::string& method, const std::string& where) {
    const auto entry = std::ranges::find(method_parameters(), std::string_view(method), &MethodParameters::method);
    if (const Json* parameters = parameters_of(level); parameters != nullptr && parameters->is_object())
      for (const auto& [name, value] : parameters->items()) {
        const bool known = std::ranges::find(entry->names, name) != entry->names.end() || name == "int8_mask";
        const std::string note =
            "warning: " + where + ": " + method + " takes no parameter '" + name + "'; it is passed over";
        if (!known && std::ranges::find(result_.notes, note) == result_.notes.end()) result_.notes.push_back(note);
      }
    for (const char* key : {"models", "slices", "sources"})
      if (level.contains(key))
        for (const Json& below : level[key]) note_ignored(below, method, where);
  }

  std::string where_;
  const std::function<Source(const std::string&)>& open_;
  std::shared_ptr<const Json> file_;
  MergekitFile result_ = {};
  std::map<std::string, std::size_t> models_ = {};
  std::optional<std::size_t> base_ = {};
  std::vector<Levels> levels_ = {};
};

}  // namespace

MergekitFile read_mergekit(std::string_view yaml, const std::string& where,
                           const std::function<Source(const std::string& model)>& open) {
  return Reader(yaml, where, open).read();
}

}  // namespace streamline::merge
