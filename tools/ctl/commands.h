// larderctl's commands. Each prints its answer on standard output and says how it ended; an error
// status is for standard error.
#pragma once

#include "absl/status/statusor.h"
#include "tools/ctl/command_line.h"
#include "tools/ctl/exit_code.h"

namespace larder {

// Through the Admin service (admin_commands.cc).
absl::StatusOr<ExitCode> RunStatus(const Invocation& invocation);
absl::StatusOr<ExitCode> RunSpaces(const Invocation& invocation);
absl::StatusOr<ExitCode> RunChunks(const Invocation& invocation);
absl::StatusOr<ExitCode> RunInspect(const Invocation& invocation);
absl::StatusOr<ExitCode> RunExplain(const Invocation& invocation);
absl::StatusOr<ExitCode> RunAdvise(const Invocation& invocation);
absl::StatusOr<ExitCode> RunCluster(const Invocation& invocation);
absl::StatusOr<ExitCode> RunWhere(const Invocation& invocation);
absl::StatusOr<ExitCode> RunDrain(const Invocation& invocation);
absl::StatusOr<ExitCode> RunVersion(const Invocation& invocation);

// What changes or checks many chunks (chunk_commands.cc).
absl::StatusOr<ExitCode> RunPin(const Invocation& invocation);
absl::StatusOr<ExitCode> RunUnpin(const Invocation& invocation);
absl::StatusOr<ExitCode> RunRemove(const Invocation& invocation);
absl::StatusOr<ExitCode> RunClear(const Invocation& invocation);
absl::StatusOr<ExitCode> RunVerify(const Invocation& invocation);

// On the path that engines take (store_commands.cc).
absl::StatusOr<ExitCode> RunMatch(const Invocation& invocation);
absl::StatusOr<ExitCode> RunHint(const Invocation& invocation);
absl::StatusOr<ExitCode> RunPut(const Invocation& invocation);
absl::StatusOr<ExitCode> RunGet(const Invocation& invocation);

// On a device of the disk tier that no daemon has open (disk_commands.cc).
absl::StatusOr<ExitCode> RunDiskList(const Invocation& invocation);
absl::StatusOr<ExitCode> RunDiskVerify(const Invocation& invocation);
absl::StatusOr<ExitCode> RunDiskRebuild(const Invocation& invocation);
// Through the Admin service.
absl::StatusOr<ExitCode> RunDiskRetire(const Invocation& invocation);

// top_command.cc
absl::StatusOr<ExitCode> RunTop(const Invocation& invocation);

}  // namespace larder
