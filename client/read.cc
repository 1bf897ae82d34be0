// Match, View and Fetch.
#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "client/client_core.h"
#include "client/keys_message.h"
#include "common/clock.h"

namespace larder {
namespace {

// Between two questions for chunks that are on their way from disk.
constexpr auto kAskAgainPause = std::chrono::milliseconds(1);

struct ReadCall {
  std::shared_ptr<Connection> connection;
  uint32_t handle = 0;
  MonotonicTime deadline;
};

absl::StatusOr<ReadCall> BeginRead(ClientCore& core, SpaceState& space, const KeySpan& keys,
                                   const CallOptions& options) {
  RETURN_IF_ERROR(CheckKeys(keys));
  ReadCall call{.connection = nullptr, .handle = 0, .deadline = core.DeadlineOf(options)};
  ASSIGN_OR_RETURN(call.connection, core.Live());
  ASSIGN_OR_RETURN(call.handle, core.HandleOf(space, *call.connection, call.deadline));
  return call;
}

// The places that a reply lists behind its fixed part.
absl::Status ReadLocations(MessageReader& reader, const MatchReply& matched,
                           std::vector<ChunkLocation>* locations) {
  const auto places = reader.ReadArray<ChunkPlaceMessage>(matched.place_count, matched.chunks);
  const auto names = reader.ReadArray<NodeNameMessage>(matched.node_count, matched.place_count);
  RETURN_IF_ERROR(reader.Finish("reply to match"));
  for (const ChunkPlaceMessage& place : places) {
    if (place.place > kPlacePeerDisk) return absl::InternalError("a chunk is at no known place");
    ChunkLocation location{.tier = static_cast<ChunkLocation::Tier>(place.place),
                           .node = {},
                           .predicted = absl::Microseconds(place.predicted_us)};
    for (const NodeNameMessage& name : names) {
      if (place.place < kPlacePeerMemory || name.node != place.node) continue;
      location.node.assign(name.name, std::min<size_t>(name.name_bytes, sizeof(name.name)));
    }
    locations->push_back(std::move(location));
  }
  return absl::OkStatus();
}

absl::Status MatchAll(const ReadCall& call, const KeySpan& keys, const MatchOptions& options,
                      uint64_t chunks_wanted, MatchResult* result) {
  MessageWriter writer;
  Frame reply;
  const uint32_t flags = (options.touch ? kMatchTouches : 0) |
                         (options.local_only ? kMatchLocalOnly : 0) |
                         (options.locations ? kMatchPlaces : 0);
  for (size_t first = 0; first < keys.size(); first += kMessageKeysMax) {
    const size_t count = std::min<size_t>(kMessageKeysMax, keys.size() - first);
    // What is too short is no use. Of several messages only the first one can say so.
    const uint64_t most = first > 0 ? 0 : count < keys.size() ? count : UINT32_MAX;
    const uint64_t chunks_min = std::min(most, chunks_wanted);
    WriteKeysRequest(keys.Subspan(first, count),
                     {.space = call.handle,
                      .flags = flags,
                      .wait_ms_or_chunks_min = static_cast<uint32_t>(chunks_min)},
                     &writer);
    RETURN_IF_ERROR(call.connection->Call(Opcode::kMatch, writer.payload(), call.deadline, &reply));
    MessageReader reader(reply.payload);
    const auto matched = reader.Read<MatchReply>();
    if (matched.chunks > count || matched.memory_chunks > matched.chunks) {
      return absl::InternalError("the daemon matched more keys than it was asked for");
    }
    RETURN_IF_ERROR(ReadLocations(reader, matched, &result->locations));
    if (result->memory_chunks == result->chunks) result->memory_chunks += matched.memory_chunks;
    result->chunks += matched.chunks;
    result->peer_chunks += matched.peer_chunks;
    result->tokens += matched.tokens;
    result->bytes += matched.bytes;
    if (matched.chunks < count) break;
  }
  return absl::OkStatus();
}

// Copies the wanted part of one chunk, from however many containers hold it, to its destination.
class ChunkReader {
 public:
  ChunkReader(const ChunkView& view, const SpaceState& space, const Part& wanted,
              const FetchOptions& options)
      : view_(view),
        manifest_(space.manifest),
        codecs_(*space.codecs),
        wanted_(wanted),
        options_(options) {}

  // `position` is the chunk's number in the whole fetch, `chunk` its number in the view. Lowers
  // `levels` to those that it was read from.
  absl::Status Read(size_t chunk, size_t position, ScatterList destination,
                    uint32_t* levels) const {
    const std::span<const ChunkView::Extent> extents = view_.extents(chunk);
    LayerCallback on_layer;
    if (options_.on_layer) {
      on_layer = [this, position](uint16_t layer) { options_.on_layer(position, layer); };
    }
    if (extents.size() == 1 && extents[0].part.Contains(wanted_)) {
      ASSIGN_OR_RETURN(const ContainerView container, view_.Open(chunk));
      LimitLevels(container, levels);
      return ReadContainer(codecs_, container, manifest_, wanted_, options_.levels, destination,
                           on_layer);
    }
    return ReadSlices(chunk, destination, on_layer, levels);
  }

 private:
  // Several ranks wrote the chunk: the destination is cut into the pieces that each slice fills.
  absl::Status ReadSlices(size_t chunk, ScatterList destination, const LayerCallback& on_layer,
                          uint32_t* levels) const {
    RETURN_IF_ERROR(CheckSize(destination));
    const std::span<const ChunkView::Extent> extents = view_.extents(chunk);
    for (size_t i = 0; i < extents.size(); ++i) {
      const Part slice = Intersection(extents[i].part);
      ASSIGN_OR_RETURN(const ContainerView container, view_.Open(chunk, i));
      LimitLevels(container, levels);
      RETURN_IF_ERROR(ReadContainer(codecs_, container, manifest_, slice, options_.levels,
                                    PiecesOf(slice, destination)));
    }
    for (uint16_t layer = wanted_.layer_begin; on_layer && layer < wanted_.layer_end; ++layer) {
      on_layer(layer);
    }
    return absl::OkStatus();
  }

  void LimitLevels(const ContainerView& container, uint32_t* levels) const {
    const uint32_t wanted = options_.levels == 0 ? UINT32_MAX : options_.levels;
    *levels = std::min({*levels, wanted, container.level_count()});
  }

  absl::Status CheckSize(ScatterList destination) const {
    uint64_t bytes = 0;
    for (const Segment& segment : destination) bytes += segment.size;
    const uint64_t expected = manifest_.PayloadBytes(wanted_);
    if (bytes == expected) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("a destination has ", bytes, " bytes, its part has ", expected));
  }

  Part Intersection(const Part& part) const {
    return {std::max(part.layer_begin, wanted_.layer_begin),
            std::min(part.layer_end, wanted_.layer_end),
            std::max(part.head_begin, wanted_.head_begin),
            std::min(part.head_end, wanted_.head_end)};
  }

  std::vector<Segment> PiecesOf(const Part& slice, ScatterList destination) const {
    const uint64_t plane_bytes = manifest_.PlaneBytes(wanted_);
    const uint64_t piece_bytes = manifest_.PlaneBytes(slice);
    const uint64_t head_offset = (slice.head_begin - wanted_.head_begin) * manifest_.HeadBytes();
    const uint32_t planes = manifest_.PlanesPerLayer();
    std::vector<Segment> pieces;
    for (uint32_t layer = slice.layer_begin; layer < slice.layer_end; ++layer) {
      for (uint32_t plane = 0; plane < planes; ++plane) {
        const uint64_t plane_index = uint64_t{layer - wanted_.layer_begin} * planes + plane;
        AppendRange(destination, plane_index * plane_bytes + head_offset, piece_bytes, &pieces);
      }
    }
    return pieces;
  }

  static void AppendRange(ScatterList segments, uint64_t offset, uint64_t size,
                          std::vector<Segment>* pieces) {
    for (const Segment& segment : segments) {
      if (size == 0) return;
      if (offset >= segment.size) {
        offset -= segment.size;
        continue;
      }
      const size_t piece = static_cast<size_t>(std::min<uint64_t>(segment.size - offset, size));
      pieces->push_back({segment.data + offset, piece});
      offset = 0;
      size -= piece;
    }
  }

  const ChunkView& view_;
  const Manifest& manifest_;
  const ContainerCodecs& codecs_;
  const Part wanted_;
  const FetchOptions& options_;
};

void ReportCorrupt(const ReadCall& call, const KeySpan& key) {
  MessageWriter writer;
  WriteKeysRequest(key, {.space = call.handle}, &writer);
  call.connection->Post(Opcode::kReportCorrupt, writer.payload());
}

struct Window {
  size_t complete = 0;
  bool more_is_coming = false;  // from disk
};

// Fetches as many keys as one lease covers.
absl::StatusOr<Window> FetchWindow(const ReadCall& call, const std::shared_ptr<SpaceState>& space,
                                   const KeySpan& keys, size_t first_position,
                                   std::span<const ScatterList> destinations, const Part& wanted,
                                   const FetchOptions& options, FetchResult* result) {
  ASSIGN_OR_RETURN(const ChunkView view,
                   AcquireView(call.connection, space, call.handle, keys, wanted, call.deadline,
                               /*wait_for_all=*/false, options.local_only));
  const ChunkReader reader(view, *space, wanted, options);
  const uint64_t chunk_bytes = space->manifest.PayloadBytes(wanted);
  for (size_t i = 0; i < view.chunks(); ++i) {
    if (options.cancel.cancelled()) return absl::CancelledError("the fetch was cancelled");
    if (SystemClock::Get().Now() >= call.deadline) {
      return absl::DeadlineExceededError("the fetch did not end in time");
    }
    uint32_t levels = result->chunks == 0 ? UINT32_MAX : result->levels;
    const absl::Status read = reader.Read(i, first_position + i, destinations[i], &levels);
    if (absl::IsDataLoss(read) && !call.connection->intact()) {
      // The lease has ended: these may be the bytes of another chunk by now.
      return absl::UnavailableError("the session ended during the fetch");
    }
    if (absl::IsDataLoss(read)) ReportCorrupt(call, keys.Subspan(i, 1));
    if (!read.ok()) return Annotate(read, absl::StrCat("chunk ", first_position + i));
    ++result->chunks;
    result->levels = levels;
    result->bytes += chunk_bytes;
  }
  return Window{.complete = view.chunks(), .more_is_coming = view.coming() > 0};
}

absl::Status FetchAll(ClientCore& core, const std::shared_ptr<SpaceState>& space,
                      const KeySpan& keys, std::span<const ScatterList> destinations,
                      const FetchOptions& options, FetchResult* result) {
  if (destinations.size() != keys.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(keys.size(), " keys but ", destinations.size(), " destinations"));
  }
  const Part wanted = options.part.value_or(space->manifest.WholePart());
  RETURN_IF_ERROR(space->manifest.ValidatePart(wanted));
  ASSIGN_OR_RETURN(const ReadCall call, BeginRead(core, *space, keys, options));
  for (size_t first = 0; first < keys.size();) {
    const size_t count = std::min<size_t>(kMessageKeysMax, keys.size() - first);
    ASSIGN_OR_RETURN(const Window window,
                     FetchWindow(call, space, keys.Subspan(first, count), first,
                                 destinations.subspan(first, count), wanted, options, result));
    first += window.complete;
    if (window.complete == count) continue;
    if (!window.more_is_coming) {
      return absl::NotFoundError(absl::StrCat("chunk ", first, " is not stored"));
    }
    if (options.cancel.cancelled()) return absl::CancelledError("the fetch was cancelled");
    if (!CanAskAgain(call.deadline)) {
      return absl::DeadlineExceededError("the fetch did not end in time");
    }
    // The daemon has waited already, unless too many others do.
    if (window.complete == 0) std::this_thread::sleep_for(kAskAgainPause);
  }
  return absl::OkStatus();
}

}  // namespace

MatchResult ClientSpace::Match(KeySpan keys, const MatchOptions& options) {
  MatchResult result;
  const absl::StatusOr<ReadCall> call = BeginRead(*core_, *state_, keys, options);
  const uint64_t tokens = state_->manifest.tokens_per_chunk;
  const uint64_t chunks_wanted = options.min_tokens / tokens + (options.min_tokens % tokens != 0);
  result.status =
      call.ok() ? MatchAll(*call, keys, options, chunks_wanted, &result) : call.status();
  if (result.status.ok() && result.tokens < options.min_tokens) result = {};
  result.predicted_load_time = core_->PredictLoad(result.bytes);
  return result;
}

absl::StatusOr<ChunkView> ClientSpace::View(KeySpan keys, const FetchOptions& options) {
  if (keys.empty()) return ChunkView();
  if (keys.size() > kMessageKeysMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a view of ", keys.size(), " chunks; the most is ", kMessageKeysMax));
  }
  const Part wanted = options.part.value_or(state_->manifest.WholePart());
  RETURN_IF_ERROR(state_->manifest.ValidatePart(wanted));
  ASSIGN_OR_RETURN(const ReadCall call, BeginRead(*core_, *state_, keys, options));
  for (;;) {
    ASSIGN_OR_RETURN(ChunkView view,
                     AcquireView(call.connection, state_, call.handle, keys, wanted, call.deadline,
                                 /*wait_for_all=*/true, options.local_only));
    if (view.coming() == 0 || !CanAskAgain(call.deadline)) return view;
    std::this_thread::sleep_for(kAskAgainPause);
  }
}

FetchResult ClientSpace::Fetch(KeySpan keys, std::span<const ScatterList> destinations,
                               const FetchOptions& options) {
  const MonotonicTime start = SystemClock::Get().Now();
  FetchResult result;
  result.status = FetchAll(*core_, state_, keys, destinations, options, &result);
  core_->RecordFetch(result.bytes, SystemClock::Get().Now() - start);
  return result;
}

Operation<FetchResult> ClientSpace::FetchAsync(KeySpan keys,
                                               std::span<const ScatterList> destinations,
                                               FetchOptions options) {
  Operation<FetchResult> operation;
  options.cancel = operation.cancel_token();
  const bool queued =
      core_->RunLater([space = *this, keys, destinations, options, operation]() mutable {
        operation.Finish(space.Fetch(keys, destinations, options));
      });
  if (!queued) {
    operation.Finish({.chunks = 0,
                      .bytes = 0,
                      .levels = 0,
                      .status = absl::ResourceExhaustedError("too many calls wait already "
                                                             "(async_calls_max)")});
  }
  return operation;
}

}  // namespace larder
