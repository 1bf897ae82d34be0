#include "common/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace larder {
namespace {

TEST(StatusTest, ErrnoKeepsItsMeaningAndSaysWhat) {
  const absl::Status status = ErrnoStatus(ENOENT, "opening \"/x\"");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "opening \"/x\": No such file or directory");
  EXPECT_EQ(ErrnoStatus(EACCES, "x").code(), absl::StatusCode::kPermissionDenied);
}

TEST(StatusTest, AnnotatePutsThePlaceInFront) {
  const absl::Status status = Annotate(absl::DataLossError("bad magic"), "segment 7");
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(status.message(), "segment 7: bad magic");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "segment 7").ok());
}

absl::Status FailIf(bool fail) {
  return fail ? absl::AbortedError("told to fail") : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<int>> NumberUnless(bool fail) {
  RETURN_IF_ERROR(FailIf(fail));
  return std::make_unique<int>(3);
}

absl::StatusOr<int> TwiceTheNumberUnless(bool fail) {
  ASSIGN_OR_RETURN(const std::unique_ptr<int> number, NumberUnless(false));
  ASSIGN_OR_RETURN(const std::unique_ptr<int> second, NumberUnless(fail));
  return *number + *second;
}

TEST(StatusTest, MacrosPassErrorsOnAndValuesThrough) {
  EXPECT_EQ(*TwiceTheNumberUnless(false), 6);
  EXPECT_EQ(TwiceTheNumberUnless(true).status(), absl::AbortedError("told to fail"));
}

}  // namespace
}  // namespace larder
