// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/quantization.h"

#include <array>

#include "streamline/arch/fp8_view.h"
#include "streamline/arch/layer_stack.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

// What only quantised checkpoints have beside, or in place of, a module's weight.
struct Mark {
  std::string_view part;  // of a tensor's name
  std::string_view method;
};
constexpr std::array kMarks = {Mark{".quant_state.bitsandbytes__", "bitsandbytes"},
                               Mark{".weight.absmax", "bitsandbytes"},
                               Mark{".SCB", "bitsandbytes"},
                               Mark{".weight_packed", "compressed-tensors"},
                               Mark{".qweight", "gptq or awq"},
                               Mark{".qzeros", "gptq or awq"},
                               Mark{".g_idx", "gptq"},
                               Mark{".weight_scale_inv", "fp8"},
                               Mark{".weight_scale", "compressed-tensors"},
                               Mark{".trellis", "exl3"},
                               Mark{".q_weight", "exl2"}};

struct Found {
  std::string key, method;  // key: of config.json; empty where tensors showed it
};

Found described(const Json& holder, const std::string& where) {
  for (const std::string_view key : kQuantizationKeys) {
    const auto found = holder.find(std::string(key));
    if (found == holder.end() || found->is_null() || found->empty()) continue;
    if (!found->is_object()) fail(ErrorKind::format, where, ": '", key, "' is not an object");
    for (const char* name : {"quant_method", "quant_algo", "format", "quantization_method"})
      if (const auto method = found->find(name); method != found->end() && method->is_string())
        return {std::string(key), method->get<std::string>()};
    const bool loads = found->value("load_in_4bit", Json(false)) == Json(true) ||
                       found->value("load_in_8bit", Json(false)) == Json(true);
    return {std::string(key), loads ? "bitsandbytes" : "quantised"};
  }
  return {};
}

Found find_quantization(const Checkpoint& checkpoint) {
  const std::string where = checkpoint.config_label();
  const Json& config = checkpoint.config();
  Found found = described(config, where);
  if (const std::string key = text_config_key(config); found.key.empty() && !key.empty())
    found = described(config.at(Json::json_pointer(key)), where);
  if (!found.key.empty() || !checkpoint.is_safetensors()) return found;
  for (const TensorInfo& tensor : checkpoint.tensors())
    for (const Mark& mark : kMarks)
      if (tensor.name.find(mark.part) != std::string::npos) return {"", std::string(mark.method)};
  return {};
}

}  // namespace

std::string quantization_method(const Checkpoint& checkpoint) { return find_quantization(checkpoint).method; }

void check_computable(const Checkpoint& checkpoint) {
  const Found found = find_quantization(checkpoint);
  if (found.method.empty() || is_fp8(checkpoint)) return;
  const std::string what =
      found.key.empty() ? "has tensors of '" + found.method + "'" : "has '" + found.key + "' (" + found.method + ")";
  fail(ErrorKind::unsupported, checkpoint.config_label(), ": ", what,
       ": quantised weights of this kind are not computed with; score the checkpoint that it was made from, and give "
       "the "
       "plan to `streamline apply --any-weights` here");
}

}  // namespace streamline
