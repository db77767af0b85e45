// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/state_key.h"

namespace streamline {
namespace {

const Json& part(const Json& key, const std::string& name) {
  static const Json none;
  const auto found = key.find(name);
  return found == key.end() ? none : *found;
}

// Adds what differs to "model, parameters.width".
void add_differing(const Json& kept, const Json& mine, const std::string& before, std::string& names) {
  const auto compare = [&](const std::string& name) {
    const Json &theirs = part(kept, name), &ours = part(mine, name);
    if (theirs == ours) return;
    if (theirs.is_object() && ours.is_object()) return add_differing(theirs, ours, before + name + ".", names);
    names += (names.empty() ? "" : ", ") + before + name;
  };
  for (const auto& [name, value] : mine.items()) compare(name);
  for (const auto& [name, value] : kept.items())
    if (!mine.contains(name)) compare(name);
}

}  // namespace

std::string difference(const Json& kept, const Json& mine, std::string_view work) {
  if (kept == mine) return "";
  const std::string another = "is the state of another " + std::string(work);
  if (!kept.is_object() && !mine.is_object()) return another;
  if (!kept.is_object() || !mine.is_object() || part(kept, kStateForm) != part(mine, kStateForm))
    return "was saved by other work than this, or by another version of this program";
  std::string names;
  add_differing(kept, mine, "", names);
  return names.empty() ? "" : another + " (what differs: " + names + ")";
}

Json parts_named_in(const Json& known, const Json& kept) {
  if (!kept.is_object()) return kept;
  Json parts = Json::object();
  for (const auto& [name, value] : known.items())
    if (kept.contains(name)) parts[name] = kept[name];
  return parts;
}

}  // namespace streamline
