// SPDX-License-Identifier: Apache-2.0
// Normalisers of tokenizer.json: text in, the text that the model shall see out.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "streamline/base/json.h"

namespace streamline {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // `text` is valid UTF-8, and so is what comes back. It is a stretch between two added tokens.
  virtual std::string apply(std::string_view text) const = 0;
};

// nullptr for null. Errors: unsupported naming a type that is not known; format.
std::unique_ptr<const Normalizer> make_normalizer(const Json& description, std::string_view where);

// Unicode normalisation forms.
enum class NormalForm { c, d, kc, kd };
std::string normalize(std::string_view text, NormalForm form);

}  // namespace streamline
