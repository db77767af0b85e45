// SPDX-License-Identifier: Apache-2.0
// Limits of control groups, from trees of files as the kernel shows them.
#include "streamline/base/control_group.h"

#include <fstream>
#include <map>

#include "support/core/expect.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {

class ControlGroup : public testing::Test {
 protected:
  void files(const std::map<std::string, std::string>& contents) {
    for (const auto& [name, text] : contents) {
      std::filesystem::create_directories((root_ / name).parent_path());
      std::ofstream(root_ / name) << text;
    }
  }
  const test::TemporaryDirectory directory_;
  const std::filesystem::path& root_ = directory_.path();
};

TEST_F(ControlGroup, WithoutOneNothingIsLimited) {
  EXPECT_EQ(group_memory_left(root_), std::nullopt);
  EXPECT_EQ(group_cpu_quota(root_), std::nullopt);
  files({{"proc/self/cgroup", "0::/\n"},
         {"sys/fs/cgroup/memory.max", "max\n"},
         {"sys/fs/cgroup/cpu.max", "max 100000\n"}});
  EXPECT_EQ(group_memory_left(root_), std::nullopt);
  EXPECT_EQ(group_cpu_quota(root_), std::nullopt);
}

TEST_F(ControlGroup, VersionTwoCountsTheGroupsAroundItAndFilesAsFree) {
  files({{"proc/self/cgroup", "0::/job/step\n"},
         {"sys/fs/cgroup/job/memory.max", "4000\n"},
         {"sys/fs/cgroup/job/memory.current", "3500\n"},
         {"sys/fs/cgroup/job/memory.stat", "anon 100\ninactive_file 1000\nactive_file 500\n"},
         {"sys/fs/cgroup/job/cpu.max", "150000 100000\n"},
         {"sys/fs/cgroup/job/step/memory.max", "max\n"},
         {"sys/fs/cgroup/job/step/memory.current", "10\n"},
         {"sys/fs/cgroup/job/step/cpu.max", "400000 100000\n"}});
  EXPECT_EQ(group_memory_left(root_), 4000U - (3500U - 1500U));
  EXPECT_EQ(group_cpu_quota(root_), 1.5);
}

TEST_F(ControlGroup, VersionOneHasATreeForEachController) {
  files({{"proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a\n3:cpuset:/\n"},
         {"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
         {"sys/fs/cgroup/memory/memory.usage_in_bytes", "7\n"},
         {"sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000\n"},
         {"sys/fs/cgroup/memory/a/memory.usage_in_bytes", "900\n"},
         {"sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 200\ntotal_active_file 0\n"},
         {"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "200000\n"},
         {"sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"}});
  EXPECT_EQ(group_memory_left(root_), 300U);
  EXPECT_EQ(group_cpu_quota(root_), 2.0);
}

TEST_F(ControlGroup, InAContainerThePathOfTheHostIsNotThere) {
  files({{"proc/self/cgroup", "0::/machine/docker-12\n"},
         {"sys/fs/cgroup/memory.max", "1000\n"},
         {"sys/fs/cgroup/memory.current", "400\n"}});
  EXPECT_EQ(group_memory_left(root_), 600U);
}

}  // namespace
}  // namespace streamline
