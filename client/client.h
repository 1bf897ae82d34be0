// The client library: what an inference engine or a router links.
//
// An engine opens a space for its model (Client::Open), asks how long a prefix is stored (Match),
// loads it (Fetch, or View without a copy) and stores what it computed (Put). Nothing here blocks
// past its deadline: with the daemon dead, stopped or full, every answer is a miss with a reason.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/keys.h"
#include "client/operation.h"
#include "client/view.h"
#include "kernels/format/coded_container.h"
#include "kernels/format/container.h"
#include "kernels/format/manifest.h"

namespace larder {

struct ClientOptions {
  // The daemon's socket.
  std::string socket_path = "/run/larder/larder.sock";
  // Shown to operators, at most 64 bytes.
  std::string name = "client";
  // How long a call polls for its answer before it sleeps; zero never polls.
  absl::Duration spin_limit = absl::Microseconds(200);
  // Deadline of a call that names none of its own.
  absl::Duration timeout = absl::Seconds(5);
  // False: frames go through the socket instead of the shared rings.
  bool use_rings = true;
  // Threads that run asynchronous calls (0: these are refused), and how many calls may wait.
  int async_threads = 1;
  size_t async_calls_max = 1024;
};

// A daemon of one's own, for notebooks and tests.
struct PrivateDaemonOptions {
  uint64_t arena_bytes = uint64_t{256} << 20;
  // Path of larderd; empty: $LARDERD, beside this program, then in $PATH.
  std::string larderd;
  // Further flags for larderd.
  std::vector<std::string> flags;
  absl::Duration start_timeout = absl::Seconds(10);
};

// Where a chunk is.
struct ChunkLocation {
  enum class Tier : uint8_t { kMemory, kDisk, kPeerMemory, kPeerDisk };
  Tier tier = Tier::kMemory;
  std::string node;  // kPeer...: the node that it would come from
  // Until it is in the memory of this client's node, as that node predicts it.
  absl::Duration predicted;
};

// How much of a prefix is stored. `status` says why it is not more where that is not an honest
// miss: UNAVAILABLE (no daemon), DEADLINE_EXCEEDED, INVALID_ARGUMENT (a caller's mistake).
struct MatchResult {
  uint32_t chunks = 0;
  uint32_t memory_chunks = 0;  // those before the first that has to come from elsewhere
  uint32_t peer_chunks = 0;    // those that have to come from other nodes, about
  uint64_t tokens = 0;
  uint64_t bytes = 0;                    // of payload
  std::vector<ChunkLocation> locations;  // of the chunks, if asked for
  // Expected time to fetch these bytes, from the rate of this client's own fetches so far.
  absl::Duration predicted_load_time;
  absl::Status status;
};

struct CallOptions {
  // From now; zero: ClientOptions::timeout.
  absl::Duration timeout = absl::ZeroDuration();
};

struct MatchOptions : CallOptions {
  // Whether the match counts as a use for eviction. A router that only looks says no.
  bool touch = true;
  // Only what this client's node has itself counts.
  bool local_only = false;
  // A prefix of fewer tokens is a miss: it is not worth fetching.
  uint64_t min_tokens = 0;
  // Fills MatchResult::locations.
  bool locations = false;
};

struct FetchOptions : CallOptions {
  // The slice of each chunk that is wanted; default: all of it.
  std::optional<Part> part;
  // So many levels of chunks that are stored in several; 0: all of them. Fewer are less exact.
  uint32_t levels = 0;
  // Chunks that only other nodes have count as not stored.
  bool local_only = false;
  // Called on the fetching thread when a layer of a chunk is verified and in place.
  std::function<void(size_t chunk, uint16_t layer)> on_layer;
  CancelToken cancel;
};

// The first `chunks` keys were fetched whole and verified. `status` says why no more were, if they
// were asked for: NOT_FOUND (not stored), DATA_LOSS (a bad chunk, reported to the daemon),
// FAILED_PRECONDITION (stored with a profile that the space was not opened with),
// DEADLINE_EXCEEDED, UNAVAILABLE, CANCELLED, INVALID_ARGUMENT.
struct FetchResult {
  uint32_t chunks = 0;
  uint64_t bytes = 0;
  // The fewest levels that one of the chunks was read from: as many as were asked for, or what was
  // left of it under the daemon's pressure. 0: no chunks.
  uint32_t levels = 0;
  absl::Status status;
};

enum class HintPriority : uint8_t { kLow, kNormal, kHigh };

// What a caller knows of the future of chunks. Hints are requests: what they keep is bounded in
// time and in bytes, and nothing that is kept for them stays longer than it helps.
struct ChunkHints {
  // Stay for so long unless nothing else can go (a soft pin).
  std::optional<absl::Duration> keep = {};
  // Will be used again in about so long.
  std::optional<absl::Duration> next_use = {};
  // Won't be used again: leave first.
  bool no_next_use = false;
  // The session has ended: the same for those that no other session shares.
  bool session_end = false;
  // Expire after so long.
  std::optional<absl::Duration> ttl = {};
  // Low: leave before others. High: stay for two minutes after each use.
  std::optional<HintPriority> priority = {};
  // Stay until unpinned (a hard pin).
  bool pin = false;

  bool empty() const {
    return !keep && !next_use && !no_next_use && !session_end && !ttl && !priority && !pin;
  }
};

// Chunks that were found, and for how many of them all was accepted, something clipped (kept, but
// not for as long as was asked), or something refused (its share of memory is in use).
struct HintAnswers {
  uint32_t found = 0;
  uint32_t accepted = 0;
  uint32_t clipped = 0;
  uint32_t refused = 0;
};

// Copies on other nodes of the cluster.
struct CopyOptions : CallOptions {
  // How many there are to be of each chunk, the one on this client's node included.
  uint32_t copies = 0;
  // Instead: the node that is to hold one, say the one that decodes what this one has prefilled.
  std::string node = {};
  // Until they are there, or can't be; else the copies are made in the background.
  bool wait = false;

  bool empty() const { return copies == 0 && node.empty(); }
};

// Chunks: whose copies are made or begun, and with CopyOptions::wait those whose copies are there.
struct CopyResult {
  uint32_t accepted = 0;
  uint32_t copied = 0;
};

struct PutOptions : CallOptions {
  // The key before the first one; empty: the first key is a root, or its parent is not known.
  std::span<const uint8_t> parent;
  // How many chunks come before the first key.
  uint32_t first_depth = 0;
  // The slice that the sources hold; default: whole chunks.
  std::optional<Part> part;
  // How long the chunks are kept at most; infinite: until evicted.
  absl::Duration ttl = absl::InfiniteDuration();
  bool pin = false;
  // How the chunks are stored: kLossless gives the same bytes back, kLarder about the same values
  // in a fraction of the bytes (docs/CODEC.md), with its first `levels` levels (0: all). Without a
  // codec it is that of the space's manifest (0: as many levels as that says). They are encoded on
  // this thread, also those that turn out to be stored already. Whoever fetches them need not know.
  std::optional<ContainerCodec> codec = {};
  uint32_t levels = 0;
  // 0 to 3: kinds of chunks that the caller tells apart, and the daemon learns to. For example: a
  // chat, an agent's session, documents, one-off work.
  uint8_t category = 0;
  // Said of all keys when they are stored.
  ChunkHints hints;
  // Made of all keys when they are stored; its timeout is that of the put.
  CopyOptions copies = {};
  CancelToken cancel;
};

// Chunks that were stored by this call, those that were there or on their way from another writer,
// and those that were not worth storing: what would have had to go for them is expected to be of
// more use. `status` is OK when all keys are in one of the three; otherwise why not:
// RESOURCE_EXHAUSTED (no room could be made, or the tenant is at its ceiling), UNAVAILABLE,
// DEADLINE_EXCEEDED, CANCELLED, ALREADY_EXISTS (a chunk is stored in another split into parts),
// INVALID_ARGUMENT.
struct PutResult {
  uint32_t stored = 0;
  uint32_t already_stored = 0;
  uint32_t refused = 0;
  uint64_t bytes = 0;            // of payload, stored by this call
  uint64_t container_bytes = 0;  // that these take
  HintAnswers hints;
  CopyResult copies;
  absl::Status status;
};

struct StoreStats {
  uint64_t data_bytes = 0, used_bytes = 0, pinned_bytes = 0, reserved_bytes = 0;
  uint64_t chunks = 0, sessions = 0, leases = 0, reservations = 0;
  uint64_t evicted_chunks = 0, corrupt_chunks = 0;
  // Of the disk tier; zero without one.
  uint64_t disk_chunks = 0, disk_demoting_bytes = 0;
  uint64_t disk_payload_bytes_written = 0;
  uint64_t disk_device_bytes_written = 0;       // headers, padding and moved records too
  uint64_t disk_loads = 0, disk_demotions = 0;  // chunks
};

// Where the bytes of one chunk go, or come from: pieces in canonical order.
using ScatterList = std::span<const Segment>;
using GatherList = std::span<const ConstSegment>;

class ClientCore;
struct SpaceState;

// One model's chunks of one tenant. A cheap handle; copies share the space. Thread-safe: any number
// of calls at once. Valid as long as its Client.
class ClientSpace {
 public:
  const Manifest& manifest() const;
  const SpaceId& id() const;
  // How the manifest differs from the one of a similar space, when the daemon saw one; or empty.
  std::string note() const;

  MatchResult Match(KeySpan keys, const MatchOptions& options = {});

  // destinations[i] takes the wanted part of chunk i. REQUIRES: one destination a key.
  FetchResult Fetch(KeySpan keys, std::span<const ScatterList> destinations,
                    const FetchOptions& options = {});
  Operation<FetchResult> FetchAsync(KeySpan keys, std::span<const ScatterList> destinations,
                                    FetchOptions options = {});

  // The longest stored prefix in place, kept from eviction while the view lives. A miss is an empty
  // view; an error says why nothing could be looked up.
  absl::StatusOr<ChunkView> View(KeySpan keys, const FetchOptions& options = {});

  // sources[i] holds chunk i (its part). Chunks become visible together, at the end of each window
  // of the put. REQUIRES: one source a key.
  PutResult Put(KeySpan keys, std::span<const GatherList> sources, const PutOptions& options = {});
  Operation<PutResult> PutAsync(KeySpan keys, std::span<const GatherList> sources,
                                PutOptions options = {});

  // How many of the keys were found.
  absl::StatusOr<uint32_t> Touch(KeySpan keys, const CallOptions& options = {});
  absl::StatusOr<uint32_t> Pin(KeySpan keys, const CallOptions& options = {});
  absl::StatusOr<uint32_t> Unpin(KeySpan keys, const CallOptions& options = {});
  absl::StatusOr<uint32_t> Remove(KeySpan keys, const CallOptions& options = {});
  // Says what is known of the future of stored chunks. INVALID_ARGUMENT when hints contradict each
  // other or a duration is not positive.
  absl::StatusOr<HintAnswers> Hint(KeySpan keys, const ChunkHints& hints,
                                   const CallOptions& options = {});
  // Copies stored chunks to other nodes. FAILED_PRECONDITION when this client's node is alone.
  absl::StatusOr<CopyResult> Copy(KeySpan keys, const CopyOptions& options);

 private:
  friend class Client;
  ClientSpace(std::shared_ptr<ClientCore> core, std::shared_ptr<SpaceState> state)
      : core_(std::move(core)), state_(std::move(state)) {}

  std::shared_ptr<ClientCore> core_;
  std::shared_ptr<SpaceState> state_;
};

// A connection to one daemon that mends itself. Thread-safe. The destructor ends the session, waits
// for running calls, and ends a private daemon; it must not run in a callback of one of these
// calls.
class Client {
 public:
  // Fails only on bad options: without a daemon the client starts out disconnected and keeps
  // trying, and until then every lookup is a miss.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options);

  // Starts a daemon in a fresh directory of its own, which ends when this client, or its process,
  // does. `client_options.socket_path` is ignored.
  static absl::StatusOr<std::unique_ptr<Client>> StartPrivate(
      const PrivateDaemonOptions& daemon_options, ClientOptions client_options = {});

  ~Client();

  // The space of (tenant, manifest, salt). INVALID_ARGUMENT names what is wrong with the manifest,
  // also that its codec can't store such chunks; FAILED_PRECONDITION says that the daemon reads it
  // differently. A manifest that differs, in its codec say, is another space's (see note). Without
  // a daemon the space is returned all the same and opened when there is one. `profile`: the
  // model's, with which codec larder stores (ParseProfile); null: the generic one. Chunks that were
  // stored with one that is neither are not read.
  absl::StatusOr<ClientSpace> Open(const Manifest& manifest, absl::string_view tenant = "default",
                                   absl::string_view salt = "",
                                   std::shared_ptr<const LarderProfile> profile = nullptr);

  absl::StatusOr<StoreStats> Stats(const CallOptions& options = {});

  // True when a daemon answered last time it was asked.
  bool connected() const;
  // Where the daemon is, also for a private one.
  const std::string& socket_path() const;
  // The process of the private daemon; -1 when this client did not start one.
  int private_daemon_pid() const;

 private:
  class PrivateDaemon;  // client/private_daemon.h
  Client(std::shared_ptr<ClientCore> core, std::unique_ptr<PrivateDaemon> daemon);

  std::unique_ptr<PrivateDaemon> daemon_;
  std::shared_ptr<ClientCore> core_;
};

}  // namespace larder
