#include "client/client_core.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/local/message_codec.h"

namespace larder {
namespace {

constexpr absl::Duration kReconnectPauseMin = absl::Milliseconds(20);
constexpr absl::Duration kReconnectPauseMax = absl::Seconds(1);
constexpr absl::Duration kSuspectPause = absl::Milliseconds(50);
constexpr absl::Duration kConnectTimeout = absl::Milliseconds(500);

// What a memory copy does on a modest machine, until this client has measured its own.
constexpr double kInitialFetchBytesPerSecond = 8e9;
constexpr double kFetchRateWeight = 0.1;

}  // namespace

ClientCore::ClientCore(ClientOptions options)
    : options_(std::move(options)),
      work_(options_.async_threads > 0 ? options_.async_calls_max : 0),
      fetch_bytes_per_s_(kInitialFetchBytesPerSecond) {}

ClientCore::~ClientCore() { Stop(); }

void ClientCore::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_keeper_.notify_all();
  work_.Close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  std::shared_ptr<Connection> ended;  // Closed outside the lock.
  std::lock_guard lock(mutex_);
  ended = std::move(connection_);
  last_failure_ = "the client has been closed";
}

void ClientCore::Start() {
  TryConnect(SystemClock::Get().Now() + std::min(options_.timeout, kConnectTimeout));
  threads_.emplace_back([this] { Keep(); });
  for (int i = 0; i < options_.async_threads; ++i) {
    threads_.emplace_back([this] {
      while (auto work = work_.Pop()) (*work)();
    });
  }
}

MonotonicTime ClientCore::DeadlineOf(const CallOptions& call) const {
  const absl::Duration timeout =
      call.timeout > absl::ZeroDuration() ? call.timeout : options_.timeout;
  // A year is as good as forever and cannot overflow.
  return SystemClock::Get().Now() + std::min(timeout, absl::Hours(24 * 365));
}

absl::StatusOr<std::shared_ptr<Connection>> ClientCore::Live() {
  std::lock_guard lock(mutex_);
  if (connection_ == nullptr) return absl::UnavailableError(last_failure_);
  if (connection_->broken()) {
    wake_keeper_.notify_one();
    return absl::UnavailableError("the connection to the daemon is broken");
  }
  return connection_;
}

absl::StatusOr<uint32_t> ClientCore::HandleOf(SpaceState& space, Connection& connection,
                                              MonotonicTime deadline) {
  const uint64_t known = space.handle.load(std::memory_order_acquire);
  if (known >> 32 == connection.generation()) return static_cast<uint32_t>(known);
  const std::vector<uint8_t> manifest = space.manifest.Serialize();
  MessageWriter writer;
  writer.Write(OpenSpaceRequest{.tenant_bytes = static_cast<uint32_t>(space.tenant.size()),
                                .salt_bytes = static_cast<uint32_t>(space.salt.size()),
                                .manifest_bytes = static_cast<uint32_t>(manifest.size()),
                                .reserved = 0,
                                .space_id_low = space.id.low,
                                .space_id_high = space.id.high});
  writer.WriteText(space.tenant);
  writer.WriteText(space.salt);
  writer.WriteBytes(manifest);
  Frame reply;
  RETURN_IF_ERROR(connection.Call(Opcode::kOpenSpace, writer.payload(), deadline, &reply));
  MessageReader reader(reply.payload);
  const auto opened = reader.Read<OpenSpaceReply>();
  const absl::string_view note = reader.ReadText(opened.note_bytes);
  RETURN_IF_ERROR(reader.Finish("reply to open space"));
  {
    std::lock_guard lock(space.mutex);
    space.note = std::string(note);
  }
  space.handle.store(uint64_t{connection.generation()} << 32 | opened.space,
                     std::memory_order_release);
  return opened.space;
}

void ClientCore::RecordFetch(uint64_t bytes, absl::Duration took) {
  const double seconds = absl::ToDoubleSeconds(took);
  if (bytes == 0 || seconds <= 0) return;
  const double rate = fetch_bytes_per_s_.load(std::memory_order_relaxed);
  fetch_bytes_per_s_.store(rate + kFetchRateWeight * (static_cast<double>(bytes) / seconds - rate),
                           std::memory_order_relaxed);
}

absl::Duration ClientCore::PredictLoad(uint64_t bytes) const {
  return absl::Seconds(static_cast<double>(bytes) /
                       fetch_bytes_per_s_.load(std::memory_order_relaxed));
}

void ClientCore::Keep() {
  absl::Duration reconnect_pause = kReconnectPauseMin;
  for (;;) {
    const absl::Duration pause = KeepOnce(&reconnect_pause);
    std::unique_lock lock(mutex_);
    if (!stopping_) wake_keeper_.wait_for(lock, absl::ToChronoNanoseconds(pause));
    if (stopping_) return;
  }
}

absl::Duration ClientCore::KeepOnce(absl::Duration* reconnect_pause) {
  std::shared_ptr<Connection> connection;
  {
    std::lock_guard lock(mutex_);
    connection = connection_;
  }
  if (connection != nullptr && !connection->broken()) {
    connection->BeatHeart();
    connection->Poll();
    if (!connection->broken()) {
      *reconnect_pause = kReconnectPauseMin;
      return connection->suspect() ? kSuspectPause : connection->heartbeat_interval();
    }
  }
  TryConnect(SystemClock::Get().Now() + kConnectTimeout);
  *reconnect_pause = std::min(*reconnect_pause * 2, kReconnectPauseMax);
  return *reconnect_pause;
}

void ClientCore::TryConnect(MonotonicTime deadline) {
  absl::StatusOr<std::shared_ptr<Connection>> connection =
      Connection::Establish(options_, deadline);
  std::shared_ptr<Connection> old;  // Dropped outside the lock: it may be the last reference.
  std::lock_guard lock(mutex_);
  old = std::move(connection_);
  if (connection.ok()) {
    connection_ = *std::move(connection);
  } else {
    connection_ = nullptr;
    last_failure_ =
        absl::StrCat("no daemon at ", options_.socket_path, ": ", connection.status().message());
  }
}

}  // namespace larder
