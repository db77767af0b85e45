// SPDX-License-Identifier: Apache-2.0
// Reading task files.
#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/base/yaml.h"
#include "streamline/tasks/task_spec.h"

namespace streamline {
namespace {

// A mapping whose keys are all asked for, so that a misspelt one is an error.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) fail(ErrorKind::format, where_, ": expected a mapping");
  }

  const std::string& where() const { return where_; }
  std::string place(std::string_view key) const { return where_ + ": " + std::string(key); }

  const Json* find(const char* key) {
    known_.emplace_back(key);
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  const Json& need(const char* key) {
    const Json* value = find(key);
    if (value == nullptr) fail(ErrorKind::format, where_, ": there is no '", key, "'");
    return *value;
  }

  std::string text(const char* key, const std::string& missing = {}) {
    const Json* value = find(key);
    if (value != nullptr && !value->is_string()) fail(ErrorKind::format, place(key), ": expected a text");
    return value == nullptr ? missing : value->get<std::string>();
  }
  std::int64_t count(const char* key) {
    const Json* value = find(key);
    if (value == nullptr) return 0;
    if (!value->is_number_integer() || value->get<std::int64_t>() < 0)
      fail(ErrorKind::format, place(key), ": expected a count");
    return value->get<std::int64_t>();
  }
  bool flag(const char* key, bool missing) {
    const Json* value = find(key);
    if (value != nullptr && !value->is_boolean()) fail(ErrorKind::format, place(key), ": expected true or false");
    return value == nullptr ? missing : value->get<bool>();
  }
  std::vector<std::string> texts(const char* key) {
    std::vector<std::string> result;
    const Json* value = find(key);
    if (value == nullptr) return result;
    for (const Json& element : value->is_array() ? *value : Json::array({*value})) {
      if (!element.is_string()) fail(ErrorKind::format, place(key), ": expected texts");
      result.push_back(element.get<std::string>());
    }
    return result;
  }
  Template pattern(const char* key, const std::string& missing = {}) {
    return Template(text(key, missing), place(key));
  }

  void done() const {
    for (const auto& [key, value] : object_.items())
      if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
        std::string names;
        for (const std::string& name : known_) names += (names.empty() ? "" : ", ") + name;
        fail(ErrorKind::format, where_, ": '", key, "' is no key here (", names, ")");
      }
  }

 private:
  const Json& object_;
  std::string where_;
  std::vector<std::string> known_;
};

// Numbers, true and false stand for themselves.
Template template_of(const Json& value, const std::string& where) {
  if (value.is_number_integer()) return Template("{{" + value.dump() + "}}", where);
  if (!value.is_string()) fail(ErrorKind::format, where, ": expected a text, an integer or a list of them");
  return Template(value.get<std::string>(), where);
}

std::vector<Template> templates_of(const Json& value, const std::string& where) {
  std::vector<Template> result;
  for (const Json& element : value) result.push_back(template_of(element, where));
  return result;
}

std::vector<Field> read_fields(const Json* object, const std::string& where) {
  std::vector<Field> fields;
  if (object == nullptr) return fields;
  if (!object->is_object()) fail(ErrorKind::format, where, ": expected a mapping of names to templates");
  for (const auto& [name, value] : object->items()) {
    const std::string place = where + ": " + name;
    fields.push_back({.name = name, .templates = {}, .list = value.is_array()});
    fields.back().templates = templates_of(value.is_array() ? value : Json::array({value}), place);
  }
  return fields;
}

std::map<std::string, std::string> constants(Reader& in, const char* key) {
  std::map<std::string, std::string> result;
  for (const Field& field : read_fields(in.find(key), in.place(key)))
    result[field.name] = field.templates.front().text(Json::object());
  return result;
}

Gather read_gather(const Json& object, const std::string& where) {
  Reader in(object, where);
  Gather gather{.by = in.text("by"), .as = in.text("as"), .fields = read_fields(in.find("fields"), where + ": fields")};
  in.done();
  if (gather.by.empty() || gather.as.empty()) fail(ErrorKind::format, where, ": 'by' and 'as' are names of fields");
  return gather;
}

Source read_source(const Json& object, const std::string& where) {
  Reader in(object, where);
  Source source;
  source.files = in.texts("file");
  const std::vector<std::string> together = in.texts("files");
  source.together = !together.empty();
  if (source.together == !source.files.empty())
    fail(ErrorKind::format, where,
         ": give either 'file', the first of which is taken, or 'files', which belong together");
  if (source.together) source.files = together;
  source.labels = in.text("labels");
  source.examples = in.text("examples");
  source.example_labels = in.text("example-labels");
  if (const std::string format = in.text("format"); !format.empty())
    source.format = row_format_named(format, in.place("format"));
  source.header = in.flag("header", true);
  source.skip = constants(in, "skip");
  if (in.find("each") != nullptr) source.each = in.pattern("each");
  if (const Json* gather = in.find("gather")) source.gather = read_gather(*gather, in.place("gather"));
  source.fields = read_fields(in.find("fields"), in.place("fields"));
  in.done();
  return source;
}

void read_order(Reader& in, Prompts& prompts) {
  const Json* order = in.find("order");
  if (order == nullptr) return;
  std::vector<bool> seen(order->size());
  for (const Json& position : *order) {
    if (!position.is_number_unsigned() && !(position.is_number_integer() && position.get<std::int64_t>() >= 0))
      fail(ErrorKind::format, in.place("order"), ": expected positions of choices");
    const auto at = position.get<std::size_t>();
    if (at >= seen.size() || seen[at]) fail(ErrorKind::format, in.place("order"), ": names each choice once, from 0");
    seen[at] = true;
    prompts.order.push_back(at);
  }
}

void read_rule(Reader& in, Prompts& prompts) {
  const std::string rule = in.text("rule", "choices");
  if (rule != "choices" && rule != "greedy") fail(ErrorKind::format, in.place("rule"), ": expected choices or greedy");
  prompts.rule = rule == "greedy" ? Rule::greedy : Rule::choices;
  prompts.metrics = in.texts("metrics");
  if (prompts.metrics.empty()) prompts.metrics = {"acc"};
  for (const std::string& metric : prompts.metrics)
    if (metric != "acc" && metric != "acc_norm" && metric != "perplexity")
      fail(ErrorKind::format, in.place("metrics"), ": no metric '", metric, "' (acc, acc_norm, perplexity)");
}

Prompts read_prompts(const Json& object, const std::string& where, Style style) {
  const bool whole = style == Style::opencompass;
  Reader in(object, where);
  Prompts prompts;
  prompts.style = style;
  prompts.labels = in.texts("labels");
  read_rule(in, prompts);
  prompts.name = in.pattern("name");
  prompts.description = in.pattern("description");
  if (whole) {
    in.need("text");
    prompts.choice = in.pattern("text");
  } else {
    in.need("context");
    prompts.context = in.pattern("context");
    prompts.choice = in.pattern("choice", "{{choice}}");
    prompts.delimiter = in.text("delimiter", " ");
  }
  if (const Json* choices = in.find("choices")) {
    if (!choices->is_array()) fail(ErrorKind::format, in.place("choices"), ": expected a list");
    prompts.choices = templates_of(*choices, in.place("choices"));
  }
  read_order(in, prompts);
  prompts.separator = in.text("separator", "\n\n");
  prompts.shots = in.count("shots");
  const std::string draw = in.text("examples", "first");
  if (draw != "first" && draw != "drawn") fail(ErrorKind::format, in.place("examples"), ": expected first or drawn");
  prompts.first = draw == "first";
  in.done();
  return prompts;
}

bool is_name(std::string_view text) {
  return !text.empty() &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == text.npos;
}

}  // namespace

Task parse_task(std::string_view text, const std::string& where) {
  const Json document = parse_yaml(text, where);
  Reader in(document, where);
  Task task;
  task.name = in.text("name");
  if (!is_name(task.name)) fail(ErrorKind::format, where, ": 'name' is made of letters, digits, '_' and '-'");
  task.about = in.text("about");
  task.items = in.count("items");
  task.split = in.text("split");
  task.names = constants(in, "names");
  const Json& sources = in.need("sources");
  if (!sources.is_array() || sources.empty()) fail(ErrorKind::format, in.place("sources"), ": expected a list");
  for (std::size_t i = 0; i < sources.size(); ++i)
    task.sources.push_back(read_source(sources[i], in.place("sources") + "[" + std::to_string(i) + "]"));
  if (const Json* prompts = in.find("lm-eval"))
    task.lm_eval = read_prompts(*prompts, in.place("lm-eval"), Style::lm_eval);
  if (const Json* prompts = in.find("opencompass"))
    task.opencompass = read_prompts(*prompts, in.place("opencompass"), Style::opencompass);
  if (!task.lm_eval && !task.opencompass)
    fail(ErrorKind::format, where, ": there is neither 'lm-eval' nor 'opencompass'");
  in.done();
  return task;
}

}  // namespace streamline
