// SPDX-License-Identifier: Apache-2.0
// The directory that comes out: what lies beside the weights, where it may not go, and that a failure leaves nothing.
#include "streamline/surgery/model_card.h"
#include "streamline/surgery/side_files.h"
#include "streamline/surgery/verify.h"
#include "support/core/file_size_limit.h"
#include "surgery/written.h"

namespace streamline::test {
namespace {

namespace fs = std::filesystem;

const char* const kCard =
    "---\nlicense: apache-2.0\nlanguage:\n- en\n- de\npipeline_tag: text-generation\nlibrary_name: other\n"
    "extra_gated_prompt: >-\n  Please agree\n  first.\ntags:\n- old\n---\n# Source\n";

TEST(Output, CarriesTheSideFilesAndACardOfItsOwn) {
  const TemporaryDirectory directory;
  const fs::path in = directory.path() / "in", out = directory.path() / "out";
  const Model pico = pico_model(tiny_llama(), 1);
  write_files(pico, in,
              {{"README.md", kCard},
               {"LICENSE", "licence text"},
               {"NOTICE", "notice"},
               {"USE_POLICY.md", "policy"},
               {"generation_config.json", "{\"eos_token_id\": 2}"},
               {"tokenizer.json", "{}"},
               {"tokenizer_config.json", "{}"},
               {"chat_template.jinja", "{{ messages }}"},
               {"training_args.bin", "x"},
               {"pytorch_model.bin", "x"}});
  apply_plan(open_model(in), drop_layers(6, {1}), {}, out, {});
  const auto files = contents(out);
  for (const char* name : {"LICENSE", "NOTICE", "USE_POLICY.md", "generation_config.json", "tokenizer.json",
                           "tokenizer_config.json", "chat_template.jinja"}) {
    ASSERT_TRUE(files.contains(name)) << name;
    EXPECT_EQ(files.at(name), read_text(in / name)) << name;
  }
  EXPECT_FALSE(files.contains("training_args.bin"));
  EXPECT_FALSE(files.contains("pytorch_model.bin"));
  const std::string& card = files.at("README.md");
  for (const char* part : {"---\nbase_model:\n- \"in\"\n", "license: apache-2.0\n", "language:\n- en\n- de\n",
                           "library_name: transformers\n", "extra_gated_prompt: >-\n  Please agree\n  first.\n",
                           "tags:\n- pruned\n- depth-pruning\n- streamline.cpp\n", "dropped layer 1 (of 6)",
                           "| layers | 6 | 5 |", "| parameters | 0.31M | 0.26M |", "from_pretrained(\"out\")"})
    EXPECT_THAT(card, testing::HasSubstr(part));
  EXPECT_THAT(card, testing::Not(testing::HasSubstr("# Source")));
}

TEST(Output, FindsRemoteCodeThatAutoMapNames) {
  const auto files = memory_files(
      "m", {{"modeling_x.py", ""},
            {"configuration_x.py", ""},
            {"tokenization_x.py", ""},
            {"setup.py", ""},
            {"tokenizer_config.json", R"({"auto_map": {"AutoTokenizer": ["tokenization_x.XTokenizer", null]}})"}});
  const Json config = {{"auto_map",
                        {{"AutoConfig", "configuration_x.XConfig"},
                         {"AutoModel", "someone/else--modeling_y.YModel"},
                         {"AutoModelForCausalLM", "modeling_x.XForCausalLM"}}}};
  EXPECT_EQ(side_files(*files, config), (std::vector<std::string>{"configuration_x.py", "modeling_x.py",
                                                                  "tokenization_x.py", "tokenizer_config.json"}));
}

TEST(Output, NamesASourceInTheHubCacheByItsRepository) {
  const TemporaryDirectory directory;
  const fs::path in = directory.path() / "models--some--model-1b" / "snapshots" / "0123abcd";
  write_files(pico_model(tiny_llama(2), 8), in);
  apply_plan(open_model(in), drop_layers(2, {1}), {}, directory.path() / "out", {});
  EXPECT_THAT(read_text(directory.path() / "out" / "README.md"), testing::HasSubstr("- \"some/model-1b\"\n"));
}

TEST(Output, RecordsWhereTheWeightsComeFrom) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 2);
  Plan plan = drop_layers(6, {4});
  plan.method = {.name = "llm-streamline", .parameters = {{"cut", 1}}, .calibration_digest = "abc", .seed = 7};
  apply_plan(source, plan, {}, directory.path() / "out", {.provenance = {{"perplexity, source", 12.5}}});
  const Blob file = map_file(directory.path() / "out" / "model.safetensors");
  const auto metadata = safetensors_metadata(file.bytes, "model.safetensors");
  EXPECT_EQ(metadata.at("format"), "pt");
  EXPECT_EQ(metadata.at("streamline.plan"), "dropped layer 4 (of 6)");
  EXPECT_EQ(metadata.at("streamline.method"), "llm-streamline");
  EXPECT_EQ(metadata.at("streamline.parameters"), "{\"cut\":1}");
  EXPECT_EQ(metadata.at("streamline.seed"), "7");
  EXPECT_EQ(metadata.at("streamline.base_digest"), source.checkpoint().digest());
  const Json config = parse_json(read_text(directory.path() / "out" / "config.json"), "config.json");
  EXPECT_EQ(config["model_type"], "llama");
  EXPECT_EQ(config["streamline"]["provenance"]["plan"], "dropped layer 4 (of 6)");
  EXPECT_THAT(read_text(directory.path() / "out" / "README.md"), testing::HasSubstr("| perplexity, source | 12.5 |"));
}

TEST(ModelCard, InheritsNothingFromACardWithoutFrontMatter) {
  for (const char* card : {"", "# Title\nlicense: mit\n", "---\n---\nlicense: mit\n", "---\nlicense: mit\n", "---"})
    EXPECT_EQ(front_matter_entry(card, "license"), "") << card;
  EXPECT_EQ(front_matter_entry("---\r\nlicense: mit\r\nx: y\r\n---\r\n", "license"), "license: mit\n");
  EXPECT_EQ(front_matter_entry("---\nlicense_name: a\nlicense: b\n---\n", "license"), "license: b\n");
}

TEST(ModelCard, TakesABodyThatTheCallerWrote) {
  const std::string card = model_card(drop_layers(4, {1}), {.name = "x", .body = "# Mine"});
  EXPECT_TRUE(card.ends_with("---\n\n# Mine\n"));
}

TEST(ModelCard, ShowsACommandAsOneLineAndTheSeedOnce) {
  const Json provenance = {{"command", {"streamline", "prune", "a|b"}}, {"seed", 5}};
  const std::string card = model_card(drop_layers(4, {1}), {.name = "x", .provenance = provenance});
  EXPECT_THAT(card, testing::HasSubstr("| command | streamline prune a/b |\n| seed | 5 |\n"));
  EXPECT_THAT(card, testing::Not(testing::HasSubstr("| seed | 0 |")));
}

TEST(ModelCard, TellsAllPerplexitiesAndHowTheyWereMeasured) {
  const auto model = [](const char* name, double value) {
    return Json{{"name", name},
                {"perplexity",
                 {{"value", value},
                  {"standard_error", 0.25},
                  {"tokens", 1000},
                  {"window", 256},
                  {"stride", 256},
                  {"bos", false},
                  {"text", {{"source", "texts/valid.txt"}}}}}};
  };
  Json provenance = {{"calibration", {{"source", "a.txt"}, {"tokens", 512}, {"documents", nullptr}}},
                     {"models", {model("source", 29.446), model("cut", 12345), model("healed", 53)}}};
  std::string card = model_card(drop_layers(4, {1}), {.name = "x", .provenance = provenance});
  for (const char* part :
       {"| perplexity on valid.txt | 29.45 ± 0.25 | 53.00 ± 0.25 |\n", "| perplexity, cut | | 1.23e+04 ± 0.25 |\n",
        "\nPerplexity ± one standard error: 1000 tokens scored in windows of 256, stride 256, without "
        "BOS.\n",
        "| calibration | source a.txt, tokens 512 |\n"})
    EXPECT_THAT(card, testing::HasSubstr(part));
  for (Json& each : provenance["models"]) each["perplexity"]["standard_error"] = nullptr;
  card = model_card(drop_layers(4, {1}), {.name = "x", .provenance = provenance});
  EXPECT_THAT(card, testing::HasSubstr("| 29.45 | 53.00 |\n"));
  EXPECT_THAT(card, testing::Not(testing::HasSubstr("±")));
}

TEST(ModelCard, SaysThatOnlyThisProgramLoadsAnExtension) {
  const std::string card = model_card(cut_window(4, 1, 2, "ffn"), {.name = "x", .format = "extension"});
  EXPECT_THAT(card, testing::HasSubstr("library_name: streamline.cpp"));
  EXPECT_THAT(card, testing::HasSubstr("other loaders refuse the model"));
}

TEST(Output, MayNotLieInsideTheSourceNorAroundIt) {
  const TemporaryDirectory directory;
  const fs::path in = directory.path() / "models" / "in";
  write_files(pico_model(tiny_llama(), 3), in);
  const auto before = contents(directory.path());
  const Model source = open_model(in);
  const Plan plan = drop_layers(6, {1});
  const ApplyOptions overwrite{.overwrite = Overwrite::yes};
  EXPECT_ERROR(apply_plan(source, plan, {}, in, overwrite), usage, "the target is the source");
  EXPECT_ERROR(apply_plan(source, plan, {}, in / "", overwrite), usage, "the target is the source");
  EXPECT_ERROR(apply_plan(source, plan, {}, in / "out" / "deep", overwrite), usage, "lies inside the source");
  EXPECT_ERROR(apply_plan(source, plan, {}, in / ".." / "in" / "out", overwrite), usage, "lies inside the source");
  EXPECT_ERROR(apply_plan(source, plan, {}, in.parent_path(), overwrite), usage, "lies inside it");
  fs::create_symlink(in, directory.path() / "link");
  EXPECT_ERROR(apply_plan(source, plan, {}, directory.path() / "link" / "out", overwrite), usage,
               "lies inside the source");
  fs::remove(directory.path() / "link");
  EXPECT_EQ(contents(directory.path()), before);
  EXPECT_NO_THROW(apply_plan(source, plan, {}, in.parent_path() / "in-smaller", {}));  // a sibling with its prefix
}

TEST(Output, ReplacesAnExistingDirectoryOnlyWhenTold) {
  const TemporaryDirectory directory;
  const fs::path out = directory.path() / "out";
  const Model source = pico_model(tiny_llama(), 4);
  const ApplyOptions overwrite{.overwrite = Overwrite::yes};
  write_text(out / "mine.txt", "precious");
  EXPECT_ERROR(apply_plan(source, drop_layers(6, {1}), {}, out, overwrite), io, "remove it yourself");
  EXPECT_EQ(contents(out).at("mine.txt"), "precious");
  fs::remove(out / "mine.txt");
  apply_plan(source, drop_layers(6, {1}), {}, out, {});
  const auto before = contents(out);
  EXPECT_ERROR(apply_plan(source, drop_layers(6, {1, 2}), {}, out, {}), io, "already exists");
  EXPECT_EQ(contents(out), before);
  apply_plan(source, drop_layers(6, {1, 2}), {}, out, overwrite);
  EXPECT_NE(contents(out), before);
}

TEST(Output, IsNotThereWhenTheDiskIsFull) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 5);
  {
    const FileSizeLimit limit(100'000);
    EXPECT_ERROR(apply_plan(source, drop_layers(6, {1}), {}, directory.path() / "out", {}), io,
                 "model.safetensors: cannot write");
  }
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST(Output, IsNotThereWhenTheTargetCannotBeWritten) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 6);
  write_text(directory.path() / "file", "x");
  EXPECT_ERROR(apply_plan(source, drop_layers(6, {1}), {}, directory.path() / "file" / "out", {}), io, "cannot create");
  EXPECT_ERROR(apply_plan(source, drop_layers(6, {1}), {}, "/proc/none/out", {}), io, "cannot create");
  EXPECT_EQ(contents(directory.path()).size(), 1u);
}

TEST(Output, IsComparedWithWhatWasMeant) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 7);
  const fs::path out = directory.path() / "out";
  apply_plan(source, drop_layers(6, {1}), {}, out, {});
  const std::vector<TensorSource> none;
  AppliedPlan applied;
  const auto compare = [&](const Model& expected, Checked check = Checked::logits) {
    verify_result(expected, none, check, out, applied);
  };
  EXPECT_NO_THROW(compare(source.view(drop_layers(6, {1}), {})));
  EXPECT_EQ(applied.checked, Checked::logits);
  EXPECT_ERROR(compare(source.view(drop_layers(6, {2}), {})), internal,
               "its logits differ from those of the model in memory");
  EXPECT_NO_THROW(compare(source.view(drop_layers(6, {2}), {}), Checked::files));
  EXPECT_ERROR(compare(source), internal, "5 layers were written; 6 expected");
  fs::resize_file(out / "model.safetensors", 1000);
  EXPECT_ERROR(compare(source.view(drop_layers(6, {1}), {})), internal, "did not pass its check and was removed");
}

// What settles a copy without running it: every tensor, by samples of its bytes, and every setting.
TEST(Output, IsComparedTensorByTensorWhereNothingChanged) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 7);
  const fs::path out = directory.path() / "out";
  apply_plan(source, keep_all(6), {}, out, {});
  std::vector<TensorSource> meant;
  for (const TensorInfo& tensor : source.checkpoint().tensors())
    meant.push_back({{tensor.name, tensor.dtype, tensor.shape}, [&] {
                       return Blob{source.checkpoint().bytes(tensor), nullptr};
                     }});
  const auto check = [&] {
    AppliedPlan applied;
    verify_result(source, meant, Checked::tensors, out, applied);
    return applied;
  };
  EXPECT_EQ(check().checked, Checked::tensors);

  const std::string config = read_text(out / "config.json");
  Json other = parse_json(config, "config.json");
  other["rope_theta"] = 20;
  if (other.contains("rope_parameters")) other["rope_parameters"]["rope_theta"] = 20;
  write_text(out / "config.json", dump_json(other));
  EXPECT_ERROR(check(), internal, "its logits differ");
  write_text(out / "config.json", config);

  std::string bytes = read_text(out / "model.safetensors");
  bytes.back() ^= 1;
  write_text(out / "model.safetensors", bytes);
  EXPECT_ERROR(check(), internal, "its tensors are not the source's");
}

}  // namespace
}  // namespace streamline::test
