// Put: reserve, fill in place, commit.
#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "client/client_core.h"
#include "client/keys_message.h"
#include "common/clock.h"
#include "common/hash.h"

namespace larder {
namespace {

// What one window of a put reserves at most: large enough to make its two requests cheap, small
// enough that a long put shows its first chunks soon and does not empty the arena at once.
constexpr uint64_t kWindowBytesMax = uint64_t{256} << 20;

constexpr uint8_t kCategoryMax = kReserveCategoryMask >> kReserveCategoryShift;

// The kinds of ReserveOutcomeMessage.
enum class Outcome : uint32_t { kGranted, kExists, kBusy, kNoSpace, kOverlaps, kRefused, kQuota };

absl::Status OutcomeStatus(Outcome outcome, size_t chunk) {
  switch (outcome) {
    case Outcome::kGranted:
    case Outcome::kExists:
    case Outcome::kBusy:
    case Outcome::kRefused:
      return absl::OkStatus();
    case Outcome::kNoSpace:
      return absl::ResourceExhaustedError(
          absl::StrCat("no room for chunk ", chunk, ": all that is stored is in use or pinned"));
    case Outcome::kQuota:
      return absl::ResourceExhaustedError(absl::StrCat(
          "no room for chunk ", chunk, ": the tenant is at its ceiling, and all it has is in use"));
    case Outcome::kOverlaps:
      return absl::AlreadyExistsError(
          absl::StrCat("chunk ", chunk, " is stored in other parts, which overlap this one"));
  }
  return absl::InternalError("the daemon answered reserve with an unknown outcome");
}

// One Put call. Every reservation that is granted is committed or given back.
class PutCall {
 public:
  PutCall(ClientCore& core, SpaceState& space, KeySpan keys, std::span<const GatherList> sources,
          const PutOptions& options)
      : core_(core), space_(space), keys_(keys), sources_(sources), options_(options) {}

  PutResult Run() {
    result_.status = RunAll();
    return std::move(result_);
  }

 private:
  struct Granted {
    uint64_t reservation;
    uint64_t offset;
    size_t chunk;
  };

  absl::Status RunAll() {
    RETURN_IF_ERROR(CheckKeys(keys_));
    if (sources_.size() != keys_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(keys_.size(), " keys but ", sources_.size(), " sources"));
    }
    if (options_.parent.size() > kContainerKeyBytesMax) {
      return absl::InvalidArgumentError("the parent's key is longer than any key");
    }
    part_ = options_.part.value_or(space_.manifest.WholePart());
    RETURN_IF_ERROR(space_.manifest.ValidatePart(part_));
    RETURN_IF_ERROR(ChooseForm());
    container_bytes_ = RawContainerBytes(space_.manifest, part_);
    deadline_ = core_.DeadlineOf(options_);
    ASSIGN_OR_RETURN(connection_, core_.Live());
    ASSIGN_OR_RETURN(handle_, core_.HandleOf(space_, *connection_, deadline_));
    if (!options_.parent.empty()) parent_ = HashKey(options_.parent);
    const size_t window =
        std::clamp<size_t>(kWindowBytesMax / container_bytes_, 1, kMessageItemsMax);
    if (options_.category > kCategoryMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("category ", options_.category, ": there are 0 to ", kCategoryMax));
    }
    for (size_t first = 0; first < keys_.size() && result_.refused == 0; first += window) {
      RETURN_IF_ERROR(PutWindow(first, std::min(window, keys_.size() - first)));
    }
    // What comes after a chunk that is not worth storing is not, either.
    if (result_.refused > 0) {
      result_.refused =
          static_cast<uint32_t>(keys_.size()) - result_.stored - result_.already_stored;
    }
    return absl::OkStatus();
  }

  // What the caller leaves open is as the manifest says.
  absl::Status ChooseForm() {
    codec_ = options_.codec.value_or(space_.manifest.codec);
    levels_ = options_.levels;
    if (!options_.codec && levels_ == 0) levels_ = space_.manifest.levels;
    return CheckLevels(codec_, levels_);
  }

  absl::Status PutWindow(size_t first, size_t count) {
    RETURN_IF_ERROR(Encode(first, count));
    std::vector<Granted> granted;
    absl::Status status = Reserve(first, count, &granted);
    size_t written = 0;
    // What comes before a chunk that found no room is stored all the same: a shorter prefix.
    while (written < granted.size()) {
      const absl::Status wrote = WriteOne(granted[written]);
      if (!wrote.ok()) {
        status = wrote;
        break;
      }
      ++written;
    }
    GiveBack(std::span(granted).subspan(written));
    const absl::Status committed = Commit(std::span(granted).first(written));
    return status.ok() ? committed : status;
  }

  // How large a coded chunk becomes is known when it is encoded: before there is room for it.
  absl::Status Encode(size_t first, size_t count) {
    encoded_.clear();
    if (codec_ == ContainerCodec::kRaw) return absl::OkStatus();
    encoded_first_ = first;
    for (size_t i = first; i < first + count; ++i) {
      RETURN_IF_ERROR(CheckGoesOn());
      absl::StatusOr<std::vector<uint8_t>> container = EncodeContainer(
          *space_.codecs, codec_, levels_, space_.manifest, IdentityOf(i), sources_[i]);
      if (!container.ok()) return Annotate(container.status(), absl::StrCat("chunk ", i));
      encoded_.push_back(*std::move(container));
    }
    return absl::OkStatus();
  }

  uint64_t ContainerBytes(size_t chunk) const {
    return encoded_.empty() ? container_bytes_ : encoded_[chunk - encoded_first_].size();
  }

  absl::Status Reserve(size_t first, size_t count, std::vector<Granted>* granted) {
    WriteReserveRequest(first, count);
    RETURN_IF_ERROR(connection_->Call(Opcode::kReserve, writer_.payload(), deadline_, &reply_));
    MessageReader reader(reply_.payload);
    const auto outcomes = reader.ReadArray<ReserveOutcomeMessage>(count, count);
    RETURN_IF_ERROR(reader.Finish("reply to reserve"));
    absl::Status status;
    for (size_t i = 0; i < count; ++i) {
      const auto outcome = static_cast<Outcome>(outcomes[i].kind);
      if (status.ok()) status = OutcomeStatus(outcome, first + i);
      const Granted one{outcomes[i].reservation, outcomes[i].offset, first + i};
      if (outcome == Outcome::kRefused) {
        ++result_.refused;
      } else if (outcome == Outcome::kGranted && status.ok() && result_.refused == 0) {
        granted->push_back(one);
      } else if (outcome == Outcome::kGranted) {
        GiveBack(std::span(&one, 1));  // Behind a gap nobody would find it.
      } else if (status.ok()) {
        ++result_.already_stored;
      }
    }
    return status;
  }

  void WriteReserveRequest(size_t first, size_t count) {
    const absl::Duration left = deadline_ - SystemClock::Get().Now();
    writer_.Clear();
    writer_.Write(ReserveRequest{
        .space = handle_,
        .item_count = static_cast<uint32_t>(count),
        .flags = (options_.pin ? kReservePins : 0) |
                 (uint32_t{options_.category} << kReserveCategoryShift),
        .reserved = 0,
        .deadline_ms = static_cast<uint64_t>(std::max<int64_t>(1, absl::ToInt64Milliseconds(left))),
        .ttl_ms = options_.ttl == absl::InfiniteDuration()
                      ? 0
                      : static_cast<uint64_t>(
                            std::max<int64_t>(1, absl::ToInt64Milliseconds(options_.ttl)))});
    for (size_t i = first; i < first + count; ++i) {
      const KeyHash key = HashKey(keys_[i]);
      writer_.Write(ReserveItemMessage{.key = std::bit_cast<KeyHashMessage>(key),
                                       .parent = std::bit_cast<KeyHashMessage>(ParentOf(i)),
                                       .bytes = ContainerBytes(i),
                                       .part = std::bit_cast<PartMessage>(part_),
                                       .depth = DepthOf(i),
                                       .reserved = 0});
    }
  }

  KeyHash ParentOf(size_t chunk) const { return chunk == 0 ? parent_ : HashKey(keys_[chunk - 1]); }
  uint32_t DepthOf(size_t chunk) const {
    return options_.first_depth + static_cast<uint32_t>(chunk);
  }

  absl::Status CheckGoesOn() const {
    if (options_.cancel.cancelled()) return absl::CancelledError("the put was cancelled");
    if (SystemClock::Get().Now() >= deadline_) {
      return absl::DeadlineExceededError("the put did not end in time");
    }
    return absl::OkStatus();
  }

  ChunkIdentity IdentityOf(size_t chunk) const {
    const std::span<const uint8_t> key = keys_[chunk];
    return {.space = space_.id,
            .manifest = space_.manifest_id,
            .key = ChunkKey(key.begin(), key.end()),
            .parent = ParentOf(chunk),
            .depth = DepthOf(chunk),
            .token_count = space_.manifest.tokens_per_chunk,
            .part = part_};
  }

  absl::Status WriteOne(const Granted& granted) {
    RETURN_IF_ERROR(CheckGoesOn());
    if (!connection_->intact()) return absl::UnavailableError("the session has ended");
    ASSIGN_OR_RETURN(const std::span<uint8_t> destination,
                     connection_->ArenaBytes(granted.offset, ContainerBytes(granted.chunk)));
    if (!encoded_.empty()) {
      const std::vector<uint8_t>& container = encoded_[granted.chunk - encoded_first_];
      std::copy(container.begin(), container.end(), destination.begin());
      return absl::OkStatus();
    }
    return Annotate(WriteRawContainer(destination, space_.manifest, IdentityOf(granted.chunk),
                                      sources_[granted.chunk]),
                    absl::StrCat("chunk ", granted.chunk));
  }

  void WriteIds(std::span<const Granted> granted) {
    writer_.Clear();
    writer_.Write(
        ReservationsRequest{.count = static_cast<uint32_t>(granted.size()), .reserved = 0});
    for (const Granted& one : granted) writer_.Write(one.reservation);
  }

  void GiveBack(std::span<const Granted> granted) {
    if (granted.empty()) return;
    WriteIds(granted);
    connection_->Post(Opcode::kAbort, writer_.payload());
  }

  absl::Status Commit(std::span<const Granted> granted) {
    if (granted.empty()) return absl::OkStatus();
    WriteIds(granted);
    // A put that ran out of time still commits what it has written: that costs microseconds.
    const MonotonicTime grace = SystemClock::Get().Now() + absl::Milliseconds(100);
    absl::Status called =
        connection_->Call(Opcode::kCommit, writer_.payload(), std::max(deadline_, grace), &reply_);
    if (!called.ok()) {
      // If the commit was never sent, this is what gives the room back; if it was, it changes
      // nothing.
      GiveBack(granted);
      return called;
    }
    MessageReader reader(reply_.payload);
    const auto codes = reader.ReadArray<uint32_t>(granted.size(), granted.size());
    RETURN_IF_ERROR(reader.Finish("reply to commit"));
    absl::Status status;
    for (size_t i = 0; i < codes.size(); ++i) {
      if (codes[i] == 0) {
        ++result_.stored;
        result_.bytes += space_.manifest.PayloadBytes(part_);
        result_.container_bytes += ContainerBytes(granted[i].chunk);
      } else if (status.ok()) {
        status = absl::Status(static_cast<absl::StatusCode>(codes[i]),
                              absl::StrCat("the daemon did not commit chunk ", granted[i].chunk));
      }
    }
    return status;
  }

  ClientCore& core_;
  SpaceState& space_;
  const KeySpan keys_;
  const std::span<const GatherList> sources_;
  const PutOptions& options_;

  Part part_;
  ContainerCodec codec_ = ContainerCodec::kRaw;
  uint32_t levels_ = 0;
  uint64_t container_bytes_ = 0;
  MonotonicTime deadline_;
  std::shared_ptr<Connection> connection_;
  uint32_t handle_ = 0;
  KeyHash parent_;
  // Coded containers of the window that begins with chunk encoded_first_.
  std::vector<std::vector<uint8_t>> encoded_;
  size_t encoded_first_ = 0;
  MessageWriter writer_;
  Frame reply_;
  PutResult result_;
};

}  // namespace

PutResult ClientSpace::Put(KeySpan keys, std::span<const GatherList> sources,
                           const PutOptions& options) {
  PutResult result = PutCall(*core_, *state_, keys, sources, options).Run();
  if (result.stored + result.already_stored == 0) return result;
  if (!options.hints.empty()) {
    const absl::StatusOr<HintAnswers> answers = Hint(keys, options.hints, options);
    if (answers.ok()) result.hints = *answers;
    if (result.status.ok()) result.status = answers.status();
  }
  if (!options.copies.empty()) {
    CopyOptions copies = options.copies;
    copies.timeout = options.timeout;
    const absl::StatusOr<CopyResult> copied = Copy(keys, copies);
    if (copied.ok()) result.copies = *copied;
    if (result.status.ok()) result.status = copied.status();
  }
  return result;
}

Operation<PutResult> ClientSpace::PutAsync(KeySpan keys, std::span<const GatherList> sources,
                                           PutOptions options) {
  Operation<PutResult> operation;
  options.cancel = operation.cancel_token();
  const bool queued = core_->RunLater([space = *this, keys, sources, options, operation]() mutable {
    operation.Finish(space.Put(keys, sources, options));
  });
  if (!queued) {
    PutResult refused;
    refused.status = absl::ResourceExhaustedError("too many calls wait already (async_calls_max)");
    operation.Finish(std::move(refused));
  }
  return operation;
}

}  // namespace larder
