// SPDX-License-Identifier: Apache-2.0
// The text model inside a model of several parts. Its keys lie in an object of config.json (`text_config`) or at the
// top; its tensors are the family's own with another beginning, which differs between releases of transformers. All
// other tensors belong to other parts (vision towers, projectors) and are carried along unread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "streamline/arch/family.h"
#include "streamline/base/json.h"

namespace streamline {

// The keys of the text model: `config` itself, or its text object with what it inherits from the top (the tied head,
// the type, special tokens).
Json text_part(const Json& config, const std::string& key);

// A configuration in which `text`, as edited, stands for text_part(); what was only inherited is not written.
Json with_text_part(Json config, const std::string& key, Json text);

// Whether config.json describes parts beside a text model.
bool is_multimodal(const Json& config);

// The family under each beginning that its tensors have inside multimodal files. The references live forever.
const std::vector<const Family*>& text_layouts(const Family& family);

// Whether a tensor of a multimodal file, with the text model called as in `family`, belongs to another part.
bool is_carried(const Family& family, std::string_view tensor);

}  // namespace streamline
