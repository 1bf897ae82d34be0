// Random requests of several sessions against the core and a plain model of it.
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/unit/daemon/core_model.h"

namespace larder {
namespace {

TEST(CorePropertyTest, RandomRequestsMatchAModel) {
  uint64_t evictions = 0, visible_commits = 0;
  for (uint64_t seed = 1; seed <= 250; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    CoreModel model(seed);
    for (int step = 0; step < 400; ++step) {
      SCOPED_TRACE(absl::StrCat("step ", step));
      model.Step();
      if (testing::Test::HasFailure()) return;
    }
    evictions += model.evictions();
    visible_commits += model.visible_commits();
    model.Finish();
    if (testing::Test::HasFailure()) return;
  }
  // Else the arena was too large, or too little came to be, for the test to mean much.
  EXPECT_GT(evictions, 1000u);
  EXPECT_GT(visible_commits, 1000u);
}

}  // namespace
}  // namespace larder
