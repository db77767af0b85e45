// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/json_edit.h"

#include <algorithm>

namespace streamline {

void set_beside(Json& object, std::string_view key, Json value, std::initializer_list<std::string_view> neighbours) {
  const std::string name(key);
  if (const auto found = object.find(name); found != object.end()) {
    *found = std::move(value);
    return;
  }
  std::string last;
  for (const auto& [existing, unused] : object.items())
    if (std::find(neighbours.begin(), neighbours.end(), existing) != neighbours.end()) last = existing;
  if (last.empty()) {
    object[name] = std::move(value);
    return;
  }
  Json edited = Json::object();
  for (auto& [existing, kept] : object.items()) {
    edited[existing] = kept;
    if (existing == last) edited[name] = value;
  }
  object = std::move(edited);
}

}  // namespace streamline
