// SPDX-License-Identifier: Apache-2.0
// The models that `compare` looks at: checkpoints, plans on one of them, and what pruning methods make of it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "options.h"

namespace streamline::cli {

struct CompareModelOptions {
  std::vector<std::string> models;  // the first is the source
  std::vector<std::string> plans;   // views of the source
  std::vector<std::string> methods;
  std::vector<std::string> layers;        // layers that each method takes out
  DataOptions data;                       // that the methods look at
  std::vector<std::string> budgets;       // or what it may leave
  std::vector<std::string> calibrations;  // or several texts, each of which chooses
  std::int64_t seeds = 1;                 // draws of each of them
  std::int64_t heal_tokens = 0;           // that each cut is trained on, to stand beside it; 0: none
  std::int64_t heal_batch = 16;           // sequences an optimizer step of it
  std::string heal_data;                  // of what text; empty: what the methods look at
  std::string cache_limit = "20GB";       // of what searches put into temporary files
  std::string format = "auto";            // in which cuts would be written: sizes and speeds are of that
  std::string keep;                       // folder in which what the methods chose is kept; empty: nowhere
};

// What a model's training came to.
struct Trained {
  std::optional<Model> model = {};  // nothing where its figures are known already
  Json record = Json::object();     // of its best step, beside what "healed" of the model's record says of its text
  std::string warning = {};         // empty: none
};

struct ComparedModel {
  std::string name;
  std::shared_ptr<const OpenedModel> opened;  // views share their source's
  Model model;
  std::optional<Model> written = {};  // as large as a checkpoint of it would be; absent: as `model` is
  Json about = Json::object();        // method, layers taken out, plan, and in words what was cut
  std::string plan_digest = {};
  std::vector<std::string> warnings = {};  // of the method
  std::string same = {};  // models of which this is equal compute the same, and are measured once; empty: of none known
  std::function<Trained()> trained = {};  // `model` after its training, which takes long; empty: it is not trained
};

struct ComparedModels {
  std::vector<ComparedModel> models;
  Json calibration = nullptr;  // of the record (docs/report.md): how far the choice of text moves what is cut
  std::vector<std::string> warnings = {};  // of no single model, as methods of "all" that cannot do a size, and why
  Json looked_at = nullptr;                // text_record() of the methods' text, where it is one, drawn once
};

// Errors: usage for no model, for methods without sizes or text; those of opening and of the methods.
ComparedModels open_compared(const CompareModelOptions& options, const Placement& placement, std::uint64_t seed);

}  // namespace streamline::cli
