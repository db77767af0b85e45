// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/html.h"

#include <algorithm>

#include "streamline/report/fields.h"

namespace streamline::report {

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        const bool control = (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7F;
        out += control ? "\uFFFD" : std::string(1, c);
    }
  }
  return out;
}

std::string script_json(const Json& json) {
  std::string out;
  for (const char c : json.dump(-1, ' ', true, Json::error_handler_t::replace)) {
    if (c == '<')
      out += "\\u003c";
    else if (c == '>')
      out += "\\u003e";
    else
      out += c;
  }
  return out;
}

std::string element(std::string_view name, std::string_view attributes, std::string_view markup) {
  std::string out = "<" + std::string(name);
  if (!attributes.empty()) out.append(" ").append(attributes);
  return out.append(">").append(markup).append("</").append(name).append(">");
}

std::string section(std::string_view heading, std::string_view introduction, std::string_view markup) {
  if (markup.empty()) return "";
  return element("section", "",
                 element("h2", "", heading) + (introduction.empty() ? "" : element("p", "", introduction)) +
                     std::string(markup)) +
         "\n";
}

std::string html_table(const std::vector<std::string>& heading, const std::vector<std::vector<std::string>>& rows,
                       std::string_view label, const std::vector<bool>& chosen) {
  std::string head, body;
  for (const std::string& cell : heading) head += element("th", "scope=\"col\"", cell);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    std::string cells;
    for (std::size_t i = 0; i < rows[row].size(); ++i)
      cells += i == 0 ? element("th", "scope=\"row\"", rows[row][i]) : element("td", "", rows[row][i]);
    body += element("tr", row < chosen.size() && chosen[row] ? "class=\"chosen\"" : "", cells) + "\n";
  }
  const std::string table = element("table", "aria-label=\"" + escaped(label) + "\"",
                                    element("thead", "", element("tr", "", head)) + element("tbody", "", body));
  return element("div", "class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" + escaped(label) + "\"", table);
}

std::string bar(double share, bool marked) {
  const std::string width = fixed(std::clamp(share, 0.0, 1.0) * 100, 1);
  return element("span", marked ? "class=\"bar mark\" aria-hidden=\"true\"" : "class=\"bar\" aria-hidden=\"true\"",
                 element("i", "style=\"width:" + width + "%\"", ""));
}

}  // namespace streamline::report
