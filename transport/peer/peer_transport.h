// Messages between the nodes of a cluster, and one-sided reads and writes of each other's memory.
//
// A peer is up while a session with it lasts: one or more connections, made by whichever side came
// first. The loss of any of them ends the session, so what was sent in a session has arrived, in
// order, or the peer goes down. A new session follows by itself.
//
// Implementations: StartTcpTransport (tcp_transport.h), MemoryNetwork (memory_network.h).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/status.h"

namespace larder {

inline constexpr size_t kNodeNameBytesMax = 64;
inline constexpr size_t kClusterNameBytesMax = 64;
inline constexpr size_t kPeersMax = 1024;
inline constexpr uint32_t kConnectionsPerPeerMax = 16;
inline constexpr uint32_t kPeerMessageBytesMax = 1 << 20;
inline constexpr size_t kWindowRangesMax = 65536;
// Writes and reads under way to one peer.
inline constexpr size_t kTransfersPerPeerMax = 1024;
// A write of at most so much is sent by the calling thread when nothing is in its way.
inline constexpr uint64_t kDirectWriteBytesMax = 128 * 1024;
// Windows are numbered by the caller, from 1 to this; greater numbers are the transport's own.
inline constexpr uint64_t kWindowMax = (uint64_t{1} << 63) - 1;

// Both names: 1 to 64 of [A-Za-z0-9._-].
struct PeerIdentity {
  std::string cluster;
  std::string node;
  uint64_t epoch = 0;  // another one after each start
};

struct PeerAddress {
  std::string node;
  std::string host_port;  // empty: it is never dialled, only accepted
};

enum class PeerEngine : uint8_t { kAuto, kUring, kEpoll };  // kAuto: io_uring where it is permitted

struct PeerTransportOptions {
  PeerIdentity self;
  std::string secret;  // proved by both sides and never sent; empty on both sides: none
  std::string listen;  // "HOST:PORT", port 0 for any free one; empty: only dials
  PeerEngine engine = PeerEngine::kAuto;
  uint32_t connections_per_peer = 2;
  absl::Duration handshake_timeout = absl::Seconds(2);  // also of connecting
  absl::Duration keepalive_interval = absl::Seconds(1);
  absl::Duration peer_timeout = absl::Seconds(3);               // nothing heard for so long: down
  absl::Duration reconnect_delay_min = absl::Milliseconds(50);  // doubled with each failure
  absl::Duration reconnect_delay_max = absl::Seconds(2);
  uint32_t queued_messages_max = 4096;  // per peer, and so many held for a window (SendAfter)
  uint64_t queued_bytes_max = 16 << 20;
  uint32_t message_bytes_max = 256 * 1024;  // kPeerMessageBytesMax at most
  uint32_t unauthenticated_max = 64;        // connections that have not proved the secret yet
  // Large writes hand over the file's pages instead of copying them. It saves the sender a copy; on
  // loopback, and with small pages, it costs the receiver more than that.
  bool send_file = false;
  std::string congestion = "cubic";  // TCP's congestion control; empty, or not there: the system's
};

// INVALID_ARGUMENT naming the option.
absl::Status CheckPeerOptions(const PeerTransportOptions& options);
bool IsNodeName(absl::string_view name);

// The one region that windows and transfers lie in, and its file, of which offset 0 is bytes[0],
// for sendfile; -1: none. Both outlive the transport.
struct PeerMemory {
  std::span<uint8_t> bytes;
  int fd = -1;
};

struct MemoryRange {
  uint64_t offset = 0;  // in the registered memory
  uint64_t bytes = 0;
};

enum class WindowAccess : uint8_t { kWrite = 1, kRead = 2 };

// Who sums the bytes of a transfer. kContent: they carry sums of their own that the receiver
// checks, so only the frames' headers are summed. Both ends name it: a window that expects
// kTransport refuses bytes without a sum.
enum class PayloadSum : uint8_t { kTransport, kContent };

// One read or write: `local` <-> bytes [window_offset, ...) of the peer's window.
struct PeerTransfer {
  uint64_t token = 0;  // comes back in the callback
  uint64_t window = 0;
  uint64_t window_offset = 0;
  std::vector<MemoryRange> local;
  MonotonicTime deadline;
  PayloadSum sum = PayloadSum::kTransport;
};

enum class WriteState : uint8_t { kDone, kUnderWay };
enum class WindowState : uint8_t { kClosed, kClosing };

// Callbacks run on the transport's thread, one at a time; they must not block, and may call the
// transport.
class PeerHandler {
 public:
  virtual ~PeerHandler() = default;

  virtual void OnPeerUp(const std::string& node, uint64_t epoch) = 0;
  // Comes after OnWritten and OnRead of all transfers of the session.
  virtual void OnPeerDown(const std::string& node, uint64_t epoch, absl::string_view why) = 0;
  // `window` is that of SendAfter, 0 for Send.
  virtual void OnMessage(const std::string& node, uint64_t epoch, std::vector<uint8_t> payload,
                         uint64_t window) = 0;
  // Bytes [offset, offset + bytes) of a kContent window have come, and are still in the cache. Not
  // every byte is told of before the message that comes after them.
  virtual void OnLanded(uint64_t /*window*/, uint64_t /*offset*/, uint64_t /*bytes*/) {}
  // The memory of that Write is free again. ok: all bytes were sent and taken by the peer's host.
  virtual void OnWritten(uint64_t token, bool ok) = 0;
  // ok: the bytes of that Read are in place. Otherwise none will be written any more.
  virtual void OnRead(uint64_t token, bool ok) = 0;
  // No byte of the window will be written or read any more: its memory may be reused.
  virtual void OnWindowClosed(uint64_t window) = 0;
  // Soon after other callbacks: what they said can be handed on now, all of it at once.
  virtual void OnPause() {}
};

enum class PeerRefusal : uint8_t {
  kMalformed = 1,    // not this protocol, or broken
  kVersion = 2,      // no version in common
  kCluster = 3,      // of another cluster
  kSecret = 4,       // does not know the secret
  kOwnName = 5,      // says that it has the name of the node it talks to
  kWrongNode = 6,    // wanted another node than this one
  kUnknownNode = 7,  // not among SetPeers
  kDuplicate = 8,    // the two dialled each other at once, and the other connection stays
  kTimeout = 9,      // did not finish its handshake in time
  kTooMany = 10,     // too many connections that have not proved the secret
};
inline constexpr size_t kPeerRefusals = 11;
absl::string_view PeerRefusalName(PeerRefusal reason);

struct PeerStats {
  std::string node;
  uint64_t epoch = 0;  // of the session, or of the last one
  bool up = false;
  uint32_t connections = 0;
  uint64_t sessions = 0;  // that ever were
  uint64_t messages_sent = 0, messages_received = 0;
  uint64_t bytes_sent = 0, bytes_received = 0;  // headers too
  uint64_t queued_messages = 0, queued_bytes = 0;
  uint64_t transfers = 0;         // under way
  uint64_t dropped_bytes = 0;     // written to windows that are closed, unknown or not its own
  uint64_t dropped_messages = 0;  // sent after bytes of such windows
  absl::Duration round_trip;      // smoothed, of keepalives; zero: not measured yet
  std::string last_error;         // why the last session or attempt ended
};

struct PeerTransportStats {
  absl::string_view engine;
  std::vector<PeerStats> peers;                       // sorted by node
  std::array<uint64_t, kPeerRefusals> refused = {};   // hellos refused by this side, by PeerRefusal
  std::array<uint64_t, kPeerRefusals> refusals = {};  // met when dialling
  uint64_t unauthenticated = 0;                       // connections now in their handshake
};

// Thread-safe. When the destructor returns no callback runs any more and no byte of the registered
// memory is written; what was under way gets no callback.
class PeerTransport {
 public:
  virtual ~PeerTransport() = default;

  // Connects to them on its own, with backoff, and accepts them; peers not named are dropped.
  virtual absl::Status SetPeers(std::vector<PeerAddress> peers) = 0;

  // Never blocks. In order per peer. RESOURCE_EXHAUSTED: the queue is full; UNAVAILABLE: not up;
  // INVALID_ARGUMENT: too large.
  virtual absl::Status Send(const std::string& node, std::span<const uint8_t> payload) = 0;
  // The same, but delivered only after `window_bytes` bytes in all were written by this node into
  // the peer's window since the session began. Later messages may overtake it; it overtakes none.
  // Dropped when the peer has closed the window.
  virtual absl::Status SendAfter(const std::string& node, std::span<const uint8_t> payload,
                                 uint64_t window, uint64_t window_bytes) = 0;

  // Lets `node`, and nobody else, write to or read from these ranges, in their order, under that
  // number: 1 to kWindowMax, never used again. INVALID_ARGUMENT: ranges outside the registered
  // memory; ALREADY_EXISTS. It outlasts sessions.
  virtual absl::Status OpenWindow(uint64_t window, const std::string& node, WindowAccess access,
                                  std::vector<MemoryRange> ranges,
                                  PayloadSum sum = PayloadSum::kTransport) = 0;
  // kClosed: its memory may be reused already, and OnWindowClosed will not come. kClosing: it will,
  // for kWrite at once, whatever the peer does; for kRead when what was begun has been sent, or the
  // peer is down. NOT_FOUND: no such window, and no callback.
  virtual absl::StatusOr<WindowState> CloseWindow(uint64_t window) = 0;

  // kDone: the memory is free already and OnWritten will not come. kUnderWay: OnWritten will. A
  // write that misses its deadline sends nothing more; its memory is free when what was begun has
  // been sent, or the peer is down. Errors as of Send.
  virtual absl::StatusOr<WriteState> Write(const std::string& node, PeerTransfer write) = 0;
  // OnRead follows, by the deadline.
  virtual absl::Status Read(const std::string& node, PeerTransfer read) = 0;

  virtual PeerTransportStats Stats() const = 0;
  // "HOST:PORT" with the real port; empty when it only dials.
  virtual std::string listen_address() const = 0;
};

}  // namespace larder
