// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/questions.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/tasks/data_files.h"
#include "streamline/text/text_lines.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

// Of a file that was found by the pattern "test/*_test.csv", what stands for the '*'; else nothing.
std::string starred_part(const fs::path& file, const Source& source) {
  const std::string name = without_compression(file).filename().string();
  for (const std::string& pattern : source.files) {
    const std::string sought = fs::path(pattern).filename().string();
    const std::size_t star = sought.find('*');
    if (star == sought.npos) continue;
    const std::size_t fixed = sought.size() - 1;
    if (name.size() >= fixed && name.starts_with(sought.substr(0, star)) && name.ends_with(sought.substr(star + 1)))
      return name.substr(star, name.size() - fixed);
  }
  return {};
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  read_lines(path, [&](std::string_view line, std::int64_t, std::int64_t) {
    const std::size_t end = line.find_last_not_of(" \t\r");
    lines.emplace_back(line.substr(0, end == line.npos ? 0 : end + 1));
    return true;
  });
  return lines;
}

// A row as it stands in the templates: its own keys, or `row` where it has none.
Json fields_of_row(Json row, const std::string& file) {
  Json fields = row.is_object() ? std::move(row) : Json{{"row", std::move(row)}};
  if (!file.empty()) fields["file"] = file;
  return fields;
}

bool is_skipped(const Json& fields, const Source& source) {
  return std::any_of(source.skip.begin(), source.skip.end(), [&](const auto& entry) {
    const auto found = fields.find(entry.first);
    return found != fields.end() && !found->is_structured() && !found->is_null() && as_text(*found) == entry.second;
  });
}

// One after the other, so that a field can use those above it.
void set_fields(Json& fields, const std::vector<Field>& wanted) {
  for (const Field& field : wanted) {
    Json value = field.list ? Json::array() : Json();
    for (const Template& part : field.templates)
      if (field.list)
        value.push_back(part.value(fields));
      else
        value = part.value(fields);
    fields[field.name] = std::move(value);
  }
}

class Reading {
 public:
  explicit Reading(const Source& source) : source_(source) {}

  // What `work` throws is the row's problem.
  template <class Work>
  void row(const std::string& where, Work work) {
    try {
      work();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::format) throw;
      result_.problems.push_back(where + ": " + error.what());
    }
  }

  void add(Json fields, const std::string& where) {
    if (is_skipped(fields, source_)) return;
    if (!source_.each) return unrolled(std::move(fields), where);
    const Json list = source_.each->value(fields);
    if (!list.is_array()) fail(ErrorKind::format, "'each' is no list there");
    for (std::size_t i = 0; i < list.size(); ++i) {
      Json one = fields;
      one["it"] = list[i];
      one["at"] = i;
      row(where, [&] { unrolled(std::move(one), where); });
    }
  }

  Questions finish() {
    for (Question& gathered : gathered_)
      row(gathered.where, [&] { question(std::move(gathered.fields), gathered.where); });
    return std::move(result_);
  }

  void problem(const std::string& where, const std::string& text) { result_.problems.push_back(where + ": " + text); }

 private:
  void unrolled(Json fields, const std::string& where) {
    if (!source_.gather) return question(std::move(fields), where);
    const Gather& gather = *source_.gather;
    Json part = fields;
    set_fields(part, gather.fields);
    Json listed = Json::object();
    for (const Field& field : gather.fields) listed[field.name] = part[field.name];
    const auto by = fields.find(gather.by);
    if (by == fields.end()) fail(ErrorKind::format, "there is no field '", gather.by, "'");
    const std::string key = as_text(*by);
    const auto [found, is_new] = places_.try_emplace(key, gathered_.size());
    if (is_new) gathered_.push_back({std::move(fields), where});
    gathered_[found->second].fields[gather.as].push_back(std::move(listed));
  }

  void question(Json fields, const std::string& where) {
    set_fields(fields, source_.fields);
    const auto choices = fields.find("choices");
    if (choices == fields.end() || !choices->is_array() || choices->empty())
      fail(ErrorKind::format, "there is no list 'choices'");
    for (Json& choice : *choices) choice = as_text(choice);
    const auto label = fields.find("label");
    if (label == fields.end()) fail(ErrorKind::format, "there is no 'label'");
    const std::string text = as_text(*label);
    const bool number = !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == text.npos;
    if (!number || std::stoul(text) >= choices->size())
      fail(ErrorKind::format, "the label '", text, "' is no position among its ", choices->size(), " choices");
    *label = std::stoul(text);
    result_.good.push_back({std::move(fields), where});
  }

  const Source& source_;
  Questions result_;
  std::vector<Question> gathered_;
  std::map<std::string, std::size_t> places_;
};

std::vector<std::string> labels_beside(const fs::path& file, const std::string& name) {
  const std::vector<fs::path> found = matching_files(file.parent_path(), name);
  if (found.empty()) fail(ErrorKind::io, (file.parent_path() / name).string(), ": no such file of labels");
  return lines_of(found.front());
}

}  // namespace

Questions read_questions(const Source& source, const std::vector<fs::path>& files, const std::string& labels) {
  Reading reading(source);
  for (const fs::path& file : files) {
    std::vector<Row> rows = read_rows(file, source.format ? *source.format : row_format_of(file), source.header);
    std::vector<std::string> label_lines;
    if (!labels.empty()) {
      label_lines = labels_beside(file, labels);
      if (label_lines.size() != rows.size())
        fail(ErrorKind::format, file.string(), ": has ", rows.size(), " rows; ", labels, " has ", label_lines.size());
    }
    const std::string starred = starred_part(file, source);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (!rows[i].problem.empty()) {
        reading.problem(rows[i].where, rows[i].problem);
        continue;
      }
      Json fields = fields_of_row(std::move(rows[i].value), starred);
      if (!label_lines.empty()) fields["label_line"] = label_lines[i];
      reading.row(rows[i].where, [&] { reading.add(std::move(fields), rows[i].where); });
    }
  }
  return reading.finish();
}

}  // namespace streamline
