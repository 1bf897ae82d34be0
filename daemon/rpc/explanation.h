// Why a chunk is there or not, for people and programs.
#pragma once

#include "common/clock.h"
#include "daemon/core/core.h"
#include "proto/larder/v1/admin.pb.h"

namespace larder {

// Fills `message`, its sentence included. For use inside a task: looks at other spaces of `core`.
void FillExplanation(const Core& core, const Space& space, const Explanation& explanation,
                     MonotonicTime now, v1::Explanation* message);

}  // namespace larder
