// SPDX-License-Identifier: Apache-2.0
// An exported classifier as a GGUF file: the trunk, "cls.output.weight", and the keys by which llama.cpp pools.
#include "streamline/surgery/export_gguf.h"
#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/chip/classify.h"
#include "streamline/chip/export.h"
#include "streamline/nn/tensor_bytes.h"
#include "streamline/text/gguf_vocabulary.h"

namespace streamline::chip {
namespace {

constexpr std::int64_t kPoolingRank = 4;  // llama.h: LLAMA_POOLING_TYPE_RANK, the one with a classifier

}  // namespace

// Read in llama.cpp's sources (src/models/qwen3.cpp, llama-graph.cpp), and tried (tests/loaders): of the decoders that
// are written here Qwen3 alone has a classifier; it takes the last token, W norm(h), and a softmax. Others stop at a
// tensor that they do not expect.
std::string why_not_in_llama_cpp(const Model& model) {
  const std::string_view arch = model.config().family->gguf.arch;
  if (arch == "qwen3") return {};
  return "llama.cpp reads a classifier of the architecture qwen3 only, and refuses a file of '" + std::string(arch) +
         "' that has one";
}

void export_chips_gguf(const std::filesystem::path& directory, const std::filesystem::path& file, DType type,
                       Overwrite overwrite) {
  const Model model = Model::open(Checkpoint::open(directory), {.dtype = torch::kFloat32});
  const Chips chips = read_chips(chips_file_in(directory));
  const auto head = class_head(model).contiguous();
  streamline::ExportOptions options{.type = type, .overwrite = overwrite};
  add_gguf_vocabulary(model.checkpoint().files(), model.config().vocab, options.vocabulary);
  const std::string arch(model.config().family->gguf.arch);
  options.fields.u32(arch + ".pooling_type", kPoolingRank);
  options.fields.strings(arch + ".classifier.output_labels", chips.tasks.front().classes);
  // What llama.cpp puts around a text: what the chip was trained with, whatever the tokenizer's habit is. An EOS would
  // be the last token, which the chip has not seen.
  options.fields.boolean("tokenizer.ggml.add_bos_token", chips.tasks.front().input.bos);
  options.fields.boolean("tokenizer.ggml.add_eos_token", false);
  options.tensors.push_back({.name = std::string(kGgufClassHead),
                             .dtype = DType::f32,
                             .shape = head.sizes().vec(),
                             .write = [head](const ByteSink& sink) { sink(bytes_of(head)); }});
  export_gguf(model, file, options);
}

}  // namespace streamline::chip
