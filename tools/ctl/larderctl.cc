// Looks after a daemon, and stores and reads chunks by hand.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tools/console/table.h"
#include "tools/ctl/command_line.h"
#include "tools/ctl/commands.h"

namespace larder {
namespace {

absl::StatusOr<ExitCode> PrintText(const Invocation& invocation) {
  std::fputs(invocation.text.c_str(), stdout);
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> Dispatch(const Invocation& invocation) {
  using Command = Invocation::Command;
  switch (invocation.command) {
    case Command::kPrintText:
      return PrintText(invocation);
    case Command::kStatus:
      return RunStatus(invocation);
    case Command::kSpaces:
      return RunSpaces(invocation);
    case Command::kChunks:
      return RunChunks(invocation);
    case Command::kInspect:
      return RunInspect(invocation);
    case Command::kExplain:
      return RunExplain(invocation);
    case Command::kHint:
      return RunHint(invocation);
    case Command::kCluster:
      return RunCluster(invocation);
    case Command::kWhere:
      return RunWhere(invocation);
    case Command::kMatch:
      return RunMatch(invocation);
    case Command::kPut:
      return RunPut(invocation);
    case Command::kGet:
      return RunGet(invocation);
    case Command::kPin:
      return RunPin(invocation);
    case Command::kUnpin:
      return RunUnpin(invocation);
    case Command::kRemove:
      return RunRemove(invocation);
    case Command::kClear:
      return RunClear(invocation);
    case Command::kVerify:
      return RunVerify(invocation);
    case Command::kAdvise:
      return RunAdvise(invocation);
    case Command::kDrain:
      return RunDrain(invocation);
    case Command::kTop:
      return RunTop(invocation);
    case Command::kVersion:
      return RunVersion(invocation);
    case Command::kDiskList:
      return RunDiskList(invocation);
    case Command::kDiskVerify:
      return RunDiskVerify(invocation);
    case Command::kDiskRebuild:
      return RunDiskRebuild(invocation);
    case Command::kDiskRetire:
      return RunDiskRetire(invocation);
  }
  return absl::InternalError("no such command");
}

absl::StatusOr<ExitCode> Run(const std::vector<std::string>& arguments) {
  absl::StatusOr<Invocation> invocation =
      ParseCommandLine(arguments, [](const char* name) { return std::getenv(name); });
  if (!invocation.ok()) return invocation.status();
  absl::StatusOr<ExitCode> result = Dispatch(*invocation);
  // An answer that nobody could read is none.
  if (std::fflush(stdout) != 0 && result.ok()) {
    return absl::DataLossError("standard output: can't be written");
  }
  return result;
}

int Main(const std::vector<std::string>& arguments) {
  const absl::StatusOr<ExitCode> result = Run(arguments);
  if (result.ok()) return static_cast<int>(*result);
  std::fprintf(stderr, "larderctl: %s\n", Printable(result.status().message()).c_str());
  return static_cast<int>(ExitCodeOf(result.status()));
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) { return larder::Main({argv + 1, argv + argc}); }
