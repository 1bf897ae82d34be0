#include "client/view.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/connection.h"
#include "client/keys_message.h"
#include "client/space_state.h"
#include "common/clock.h"

namespace larder {
namespace {

// Every chunk of a reply needs at least one extent, extents are counted without gaps.
absl::Status CheckShape(std::span<const LeasedChunkMessage> chunks, uint32_t extents) {
  uint32_t next = 0;
  for (const LeasedChunkMessage& chunk : chunks) {
    if (chunk.first_extent != next || chunk.extent_count == 0 ||
        chunk.extent_count > extents - next) {
      return absl::InternalError("the daemon's reply to acquire contradicts itself");
    }
    next += chunk.extent_count;
  }
  if (next != extents) {
    return absl::InternalError("the daemon's reply to acquire has extents of no chunk");
  }
  return absl::OkStatus();
}

// What a daemon may take to answer without being taken for dead, on a busy machine.
constexpr absl::Duration kAnswerTime = absl::Milliseconds(10);

// How long the daemon may wait for its disk: well within the deadline, so that its answer is not
// taken for a hang, and short enough for a caller to be able to cancel.
uint32_t WaitMs(MonotonicTime deadline) {
  constexpr int64_t kWaitMsMax = 50;
  const absl::Duration left = deadline - SystemClock::Get().Now() - kAnswerTime;
  return static_cast<uint32_t>(std::clamp<int64_t>(absl::ToInt64Milliseconds(left), 0, kWaitMsMax));
}

}  // namespace

bool CanAskAgain(MonotonicTime deadline) {
  return deadline - SystemClock::Get().Now() > kAnswerTime;
}

absl::StatusOr<ChunkView> AcquireView(std::shared_ptr<Connection> connection,
                                      std::shared_ptr<SpaceState> space, uint32_t handle,
                                      const KeySpan& keys, const Part& part, MonotonicTime deadline,
                                      bool wait_for_all, bool local_only) {
  MessageWriter writer;
  WriteKeysRequest(keys,
                   {.space = handle,
                    .flags = kAcquireLoads | (wait_for_all ? kAcquireWaitsForAll : 0) |
                             (local_only ? kAcquireLocalOnly : 0),
                    .wait_ms_or_chunks_min = WaitMs(deadline),
                    .part = std::bit_cast<PartMessage>(part)},
                   &writer);
  Frame reply;
  RETURN_IF_ERROR(connection->Call(Opcode::kAcquire, writer.payload(), deadline, &reply));
  MessageReader reader(reply.payload);
  const auto header = reader.Read<AcquireReply>();
  ChunkView view;
  // From here on the view gives the lease back whatever happens.
  view.connection_ = std::move(connection);
  view.space_ = std::move(space);
  view.lease_ = header.lease;
  const auto chunks = reader.ReadArray<LeasedChunkMessage>(header.chunk_count, keys.size());
  const auto extents = reader.ReadArray<ExtentMessage>(header.extent_count, kFrameBytesMax);
  RETURN_IF_ERROR(reader.Finish("reply to acquire"));
  RETURN_IF_ERROR(CheckShape(chunks, header.extent_count));
  view.coming_ = header.coming_count;
  if (chunks.empty()) return view;
  view.extents_.reserve(extents.size());
  for (const ExtentMessage& extent : extents) {
    ASSIGN_OR_RETURN(const std::span<const uint8_t> bytes,
                     view.connection_->ArenaBytes(extent.offset, extent.bytes));
    view.extents_.push_back({bytes, std::bit_cast<Part>(extent.part)});
  }
  view.first_extent_.reserve(chunks.size() + 1);
  for (const LeasedChunkMessage& chunk : chunks) view.first_extent_.push_back(chunk.first_extent);
  view.first_extent_.push_back(header.extent_count);
  view.key_bytes_.assign(keys[0].data(), keys[0].data() + chunks.size() * keys.key_bytes());
  view.keys_ = KeySpan(view.key_bytes_.data(), keys.key_bytes(), chunks.size());
  return view;
}

ChunkView& ChunkView::operator=(ChunkView&& other) noexcept {
  if (this != &other) {
    Release();
    connection_ = std::move(other.connection_);
    space_ = std::move(other.space_);
    lease_ = std::exchange(other.lease_, 0);
    coming_ = std::exchange(other.coming_, 0);
    key_bytes_ = std::move(other.key_bytes_);
    keys_ = std::exchange(other.keys_, {});
    extents_ = std::move(other.extents_);
    first_extent_ = std::move(other.first_extent_);
  }
  return *this;
}

void ChunkView::Release() {
  if (connection_ == nullptr || lease_ == 0) return;
  MessageWriter writer;
  writer.Write(ReleaseRequest{.lease = std::exchange(lease_, 0)});
  // A broken connection has ended the lease already.
  connection_->Post(Opcode::kRelease, writer.payload());
  connection_ = nullptr;
}

bool ChunkView::intact() const { return connection_ == nullptr || connection_->intact(); }

absl::StatusOr<ContainerView> ChunkView::Open(size_t chunk, size_t container) const {
  const Extent& extent = extents(chunk)[container];
  ASSIGN_OR_RETURN(ContainerView view, ContainerView::Parse(extent.bytes));
  RETURN_IF_ERROR(view.CheckIdentity(space_->manifest, space_->id, keys_[chunk], extent.part));
  return view;
}

}  // namespace larder
