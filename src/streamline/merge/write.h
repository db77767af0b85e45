// SPDX-License-Identifier: Apache-2.0
// A merge carried out: an ordinary checkpoint directory.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/merge/merge_plan.h"

namespace streamline::merge {

struct WriteOptions {
  std::uint64_t max_shard_size = 5'000'000'000;
  Overwrite overwrite = Overwrite::no;
  Json recipe = Json::object();                   // how it was merged, for the card and config.json
  std::string configuration = {};                 // mergekit's file, which goes into the card and beside the weights
  Json run = Json::object();                      // command, version …, for the card alone
  std::map<std::string, std::string> files = {};  // text files to lie beside the weights, by their names in the result
  std::string tokenizer = {};  // name of the model whose tokenizer files are copied; empty: the reference
};

struct Written {
  std::int64_t layers = 0, parameters = 0;
  std::uint64_t bytes = 0;  // of tensor data
  std::vector<std::string> notes = {};
};

// Errors: usage where the target is one of the models, or one lies inside the other. Ask before work that would be
// lost; write_merge() asks too.
void check_writable(const MergePlan& plan, const std::filesystem::path& out);

// One tensor is in memory at a time. config.json is the reference's, with the layers of the result; tokenizer and other
// side files are copied; everything appears by one rename, after the result was opened again. Errors: io, resource
// (disk), numeric, and those of check_writable().
Written write_merge(const MergePlan& plan, const std::filesystem::path& out, const WriteOptions& options);

}  // namespace streamline::merge
