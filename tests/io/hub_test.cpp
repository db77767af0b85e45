// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/hub.h"

#include <cstdlib>
#include <optional>
#include <string>

#include "streamline/base/file.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

const std::string kCommit = "0123456789abcdef0123456789abcdef01234567";
const std::string kOlder = "89abcdef0123456789abcdef0123456789abcdef";

class Hub : public testing::Test {
 protected:
  void SetUp() override {
    add("models--org--small.model-1", kCommit, {{"main", kCommit + "\n"}, {"refs/pr/1", kOlder}});
    fs::create_directories(cache() / "models--org--small.model-1" / "snapshots" / kOlder);
    add("models--gpt2", kOlder, {{"main", kOlder}});
  }

  void add(const std::string& folder, const std::string& commit, const std::map<std::string, std::string>& refs) {
    fs::create_directories(cache() / folder / "snapshots" / commit);
    for (const auto& [name, content] : refs) {
      const fs::path path = cache() / folder / "refs" / name;
      fs::create_directories(path.parent_path());
      write_text(path, content);
    }
  }

  fs::path cache() const { return directory_.path() / "hub"; }
  fs::path snapshot(const std::string& folder, const std::string& commit) const {
    return cache() / folder / "snapshots" / commit;
  }

  test::TemporaryDirectory directory_;
};

// Sets a variable for as long as a test runs; nothing: takes it away.
class Variable {
 public:
  Variable(const char* name, const std::optional<std::string>& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ~Variable() { set(old_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  void set(const std::optional<std::string>& value) { value ? setenv(name_, value->c_str(), 1) : unsetenv(name_); }
  const char* name_;
  std::optional<std::string> old_;
};

TEST_F(Hub, FindsTheSnapshotOfTheMainBranch) {
  EXPECT_EQ(find_model("org/small.model-1", cache()), snapshot("models--org--small.model-1", kCommit));
  EXPECT_EQ(find_model("hf:org/small.model-1", cache()), snapshot("models--org--small.model-1", kCommit));
  EXPECT_EQ(find_model("hf:gpt2", cache()), snapshot("models--gpt2", kOlder));
}

TEST_F(Hub, FindsARevisionByReferenceAndByCommit) {
  EXPECT_EQ(find_model("org/small.model-1@refs/pr/1", cache()), snapshot("models--org--small.model-1", kOlder));
  EXPECT_EQ(find_model("org/small.model-1@" + kOlder, cache()), snapshot("models--org--small.model-1", kOlder));
}

TEST_F(Hub, PrefersAPathThatExists) {
  fs::create_directories(directory_.path() / "org" / "small.model-1");
  const fs::path there = directory_.path() / "org" / "small.model-1";
  EXPECT_EQ(find_model(there.string(), cache()), there);
}

TEST_F(Hub, LeavesWhatCannotBeARepositoryToWhoeverOpensIt) {
  for (const char* path : {"absent", "./org/absent", "/absent/model", "a/b/c", "../org/name"})
    EXPECT_EQ(find_model(path, cache()), path);
}

TEST_F(Hub, SaysHowToGetWhatIsMissing) {
  EXPECT_ERROR(find_model("org/other", cache()), io, "`hf download org/other`");
  EXPECT_ERROR(find_model("org/other", cache()), io, cache().string());
  EXPECT_ERROR(find_model("org/small.model-1@v2", cache()), io, "`hf download org/small.model-1 --revision v2`");
}

TEST_F(Hub, RefusesNamesThatLeaveTheCache) {
  EXPECT_ERROR(find_model("hf:../../etc", cache()), usage, "hf:org/name");
  EXPECT_ERROR(find_model("hf:org/small.model-1@../../x", cache()), usage, "hf:org/name@revision");
  EXPECT_EQ(find_model("org/small.model-1@../../x", cache()), "org/small.model-1@../../x");
  write_text(cache() / "models--gpt2" / "refs" / "main", "../../..");
  EXPECT_ERROR(find_model("hf:gpt2", cache()), format, "holds no commit");
}

TEST(HubCache, FollowsTheVariablesOfTheHubsOwnTools) {
  const Variable cache("HF_HUB_CACHE", "/a"), home("HF_HOME", "/b"), xdg("XDG_CACHE_HOME", "/c"), user("HOME", "/d");
  EXPECT_EQ(hub_cache(), "/a");
  const Variable no_cache("HF_HUB_CACHE", std::nullopt);
  EXPECT_EQ(hub_cache(), "/b/hub");
  const Variable no_home("HF_HOME", std::nullopt);
  EXPECT_EQ(hub_cache(), "/c/huggingface/hub");
  const Variable no_xdg("XDG_CACHE_HOME", std::nullopt);
  EXPECT_EQ(hub_cache(), "/d/.cache/huggingface/hub");
  const Variable no_user("HOME", std::nullopt);
  EXPECT_EQ(hub_cache(), "");
}

}  // namespace
}  // namespace streamline
