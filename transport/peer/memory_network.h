// The in-memory twin of the transport: nodes of one process, and a network between them that a test
// can cut, delay and stop.
#pragma once

#include <memory>
#include <string>

#include "transport/peer/peer_transport.h"

namespace larder {

struct MemoryNetworkState;

// Thread-safe. The transports keep the network's state alive.
class MemoryNetwork {
 public:
  MemoryNetwork();
  ~MemoryNetwork();

  // Adds a node; one that joins under a name in use replaces the older one in its peers' eyes, as a
  // restarted node does. INVALID_ARGUMENT for bad options. Peers find each other by their names;
  // an address only says that a node is dialled. `handler` outlives the transport.
  absl::StatusOr<std::unique_ptr<PeerTransport>> Join(const PeerTransportOptions& options,
                                                      PeerMemory memory, PeerHandler* handler);

  // Nothing passes between the two until Heal; after peer_timeout they are down.
  void Cut(const std::string& one, const std::string& other);
  void Heal(const std::string& one, const std::string& other);
  // What is sent from now on arrives so much later, both ways.
  void SetDelay(const std::string& one, const std::string& other, absl::Duration delay);
  // The node does nothing until Resume, as a stopped process; its peers find it down.
  void Pause(const std::string& node);
  void Resume(const std::string& node);

 private:
  std::shared_ptr<MemoryNetworkState> state_;
};

}  // namespace larder
