// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/gguf_output.h"

#include <algorithm>
#include <array>

#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/unfinished.h"
#include "streamline/nn/block.h"
#include "streamline/nn/rope.h"
#include "streamline/surgery/origin.h"
#include "streamline/surgery/verify.h"

namespace streamline {

namespace fs = std::filesystem;

namespace {

// What results have beside them.
constexpr std::array kBeside = {"plan.json", "replacement.safetensors", "report.html", "report.json", "streamline"};

struct Rename {
  fs::path from, to;
};

// All, or where one fails none. Errors: io.
void rename_all(const std::vector<Rename>& renames) {
  std::error_code error, ignored;
  for (std::size_t i = 0; i < renames.size(); ++i) {
    fs::rename(renames[i].from, renames[i].to, error);
    if (!error) continue;
    for (std::size_t back = i; back-- > 0;) fs::rename(renames[back].to, renames[back].from, ignored);
    fail(ErrorKind::io, renames[i].to.string(), ": cannot be written: ", error.message());
  }
}

fs::path checked(const fs::path& file) {
  if (file.extension() != ".gguf" || !file.has_stem())
    fail(ErrorKind::usage, file.string(), ": the name of a GGUF file ends in .gguf");
  return fs::absolute(file).lexically_normal();
}

void compare(const Config& written, const Config& expected) {
  if (written.layer_count() != expected.layer_count())
    fail(ErrorKind::internal, written.layer_count(), " layers were written; ", expected.layer_count(), " expected");
  for (std::int64_t i = 0; i < expected.layer_count(); ++i) {
    const auto& before = expected.layers[static_cast<std::size_t>(i)].attention;
    const auto& after = written.layers[static_cast<std::size_t>(i)].attention;
    if (!before) continue;  // zeros stand there
    if (before->rope != after->rope)
      fail(ErrorKind::internal, "layer ", i, " was written with another rotary embedding than it has");
    const std::int64_t whole = written.max_positions;  // no window is the same as one of all positions
    if (std::min(before->window.value_or(whole), whole) != std::min(after->window.value_or(whole), whole))
      fail(ErrorKind::internal, "layer ", i, " was written with the attention window ", after->window.value_or(0),
           " instead of ", before->window.value_or(0));
    if (std::min(before->chunk.value_or(whole), whole) != std::min(after->chunk.value_or(whole), whole))
      fail(ErrorKind::internal, "layer ", i, " was written with chunks of ", after->chunk.value_or(0), " instead of ",
           before->chunk.value_or(0));
  }
}

// Of most tokens: one that a router sends elsewhere, or that has massive activations, must not decide. [1, tokens,
// width]
double difference_of_tokens(const torch::Tensor& found, const torch::Tensor& meant) {
  const torch::Tensor expected = meant.to(torch::kDouble), missed = (found.to(torch::kDouble) - expected).norm(2, -1);
  return torch::where(missed.eq(0), missed, missed / expected.norm(2, -1)).median().item<double>();
}

// Both models layer by layer on the same tokens. The largest difference of a layer by itself is told to `log_detail`.
class Comparison {
 public:
  Comparison(const Model& written, const Model& expected, const AllowedDifference& allowed)
      : written_(written), expected_(expected), allowed_(allowed) {}

  // The largest difference of logits, relative to the largest of the expected.
  double run(const torch::Tensor& ids) {
    torch::Tensor meant = expected_.embed(ids), found = written_.embed(ids);
    look_at("the embedding", found, meant);
    const Positions positions = of(expected_, ids), written_positions = of(written_, ids);
    for (std::int64_t i = 0; i < expected_.layer_count(); ++i) {
      check_interrupted();
      const LayerWeights layer = written_.layer(i);
      const auto forward = [&](const torch::Tensor& x) {
        return block_forward(written_.config(), layer, x, written_positions);
      };
      const torch::Tensor next = block_forward(expected_.config(), expected_.layer(i), meant, positions);
      look_at("layer " + std::to_string(i), forward(meant) - meant, next - meant);
      found = forward(found);
      meant = next;
    }
    const torch::Tensor logits = expected_.logits(meant);
    look_at("the head", written_.logits(meant), logits);
    log_detail("largest difference of a layer by itself: " + general(largest_, 3));
    return relative_difference(written_.logits(found), logits);
  }

 private:
  static Positions of(const Model& model, const torch::Tensor& ids) {
    return rope_positions(model.config(), 0, ids.size(1), model.placement().device);
  }

  void look_at(const std::string& what, const torch::Tensor& found, const torch::Tensor& meant) {
    const double difference = difference_of_tokens(found, meant);
    largest_ = std::max(largest_, difference);
    if (difference <= allowed_.layer) return;  // not so of NaN
    if (!meant.isfinite().all().item<bool>()) check_finite(expected_.checkpoint());
    fail(ErrorKind::internal, what, " differs by ", difference, " of its norm; rounding costs at most ",
         allowed_.layer);
  }

  const Model &written_, &expected_;
  const AllowedDifference& allowed_;
  double largest_ = 0;
};

}  // namespace

GgufOutput::GgufOutput(const fs::path& file, Overwrite overwrite)
    : file_(checked(file)), overwrite_(overwrite), directory_(file_, overwrite, TargetKind::file) {}

std::uint64_t GgufOutput::write(const GgufFields& fields, const std::vector<GgufTensor>& tensors) {
  std::uint64_t bytes = gguf_header(fields, tensors).size();
  for (const GgufTensor& tensor : tensors) bytes += tensor.size();
  check_space(directory_, bytes, file_);
  const fs::path staged = directory_.staging() / file_.filename();
  OutputFile output(staged);
  write_gguf(output, fields, tensors);
  output.commit(Durable::with_directory);
  return fs::file_size(staged);
}

double GgufOutput::check(const Model& expected, const AllowedDifference& allowed) const {
  const torch::NoGradGuard no_grad;
  try {
    const Model written = Model::open(
        open_gguf_checkpoint(open_directory(directory_.staging()), file_.filename().string()), expected.placement());
    compare(written.config(), expected.config());
    const double difference =
        translating_errors([&] { return Comparison(written, expected, allowed).run(fixed_tokens(written.config())); });
    if (!(difference <= allowed.logits))
      fail(ErrorKind::internal, "its logits differ from those of the model in memory by ", difference,
           " of the largest logit");
    return difference;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::interrupted || error.kind() == ErrorKind::numeric) throw;
    fail(ErrorKind::internal,
         "the written GGUF file did not pass its check and was removed; please report it: ", error.what());
  }
}

std::string GgufOutput::name_beside(std::string_view name) const {
  return file_.stem().string().append(".").append(name);
}

void GgufOutput::commit() {
  directory_.sync();
  std::vector<Rename> renames;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_.staging()))
    if (const fs::path name = entry.path().filename(); name != file_.filename())
      renames.push_back({entry.path(), file_.parent_path() / name_beside(name.string())});
  std::sort(renames.begin(), renames.end(), [](const Rename& a, const Rename& b) { return a.to < b.to; });
  renames.push_back({directory_.staging() / file_.filename(), file_});
  std::error_code error;
  for (const Rename& rename : renames)
    if (overwrite_ == Overwrite::no && fs::exists(rename.to, error))
      fail(ErrorKind::io, rename.to.string(), ": already exists; choose another name, or pass --overwrite");
  // What an earlier result left beside the file goes aside first, so that nothing of it stays beside this one.
  std::vector<Rename> aside;
  for (const char* name : kBeside)
    if (const fs::path old = file_.parent_path() / name_beside(name);
        overwrite_ == Overwrite::yes && fs::exists(old, error))
      aside.push_back({old, replaced_name(old)});
  renames.insert(renames.begin(), aside.begin(), aside.end());
  rename_all(renames);
  for (const Rename& old : aside) fs::remove_all(old.to, error);
}

}  // namespace streamline
