// What kinds of users a generated workload has; generator.h gives them their time.
#pragma once

#include <cstdint>
#include <memory>

#include "common/random.h"
#include "tools/workload/request.h"

namespace larder {

// One user, who has one session after another. Lives no longer than the model that made it.
// Not thread-safe.
class WorkloadUser {
 public:
  virtual ~WorkloadUser() = default;

  // Fills the next request, all but its timestamp. `new_session` is the number that a session
  // beginning here would have; the request's session says whether one did.
  virtual Request Ask(Random& random, uint64_t new_session) = 0;
};

// What all users share: system prompts, documents. Immutable once made.
class WorkloadModel {
 public:
  virtual ~WorkloadModel() = default;

  // The spread of the time between two requests of one user: the sigma of a log-normal
  // distribution, whose mean the generator sets.
  virtual double gap_sigma() const = 0;
  virtual std::unique_ptr<WorkloadUser> NewUser() const = 0;
};

// Each takes `random` for what its users share and keeps no reference to it.

// People in a chat: a few system prompts, turns that grow the context, long pauses.
std::unique_ptr<WorkloadModel> MakeConversationModel(uint32_t tokens_per_block, Random& random);
// Coding agents: a large shared prefix, many quick turns around tool calls, sub-agents that fork
// off.
std::unique_ptr<WorkloadModel> MakeAgentsModel(uint32_t tokens_per_block, Random& random);
// Retrieval: one instruction, popular documents in varying order, a question asked once.
std::unique_ptr<WorkloadModel> MakeRagModel(uint32_t tokens_per_block, Random& random);

}  // namespace larder
