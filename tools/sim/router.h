// Which node serves a request.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/sim/block_trace.h"

namespace larder {

// Not thread-safe.
class Router {
 public:
  virtual ~Router() = default;

  // `hits_at(node)` says how many leading blocks of the request the node holds.
  virtual uint32_t Choose(const BlockTrace& trace, const TraceRequest& request,
                          absl::FunctionRef<uint32_t(uint32_t)> hits_at) = 0;

  // Whether it never calls `hits_at`.
  virtual bool is_static() const { return true; }
  // Forgets all requests.
  virtual void Reset() {}
};

// INVALID_ARGUMENT names an unknown router (kRouterNames in simulation.h).
absl::StatusOr<std::unique_ptr<Router>> MakeRouter(absl::string_view name, uint32_t nodes);

}  // namespace larder
