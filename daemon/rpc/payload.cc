#include "daemon/rpc/payload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

Part Intersect(const Part& a, const Part& b) {
  return {.layer_begin = std::max(a.layer_begin, b.layer_begin),
          .layer_end = std::min(a.layer_end, b.layer_end),
          .head_begin = std::max(a.head_begin, b.head_begin),
          .head_end = std::min(a.head_end, b.head_end)};
}

// Where `slice` of `wanted` belongs in the payload: one run a layer and plane.
std::vector<Segment> DestinationOf(const Manifest& manifest, const Part& wanted, const Part& slice,
                                   Payload* payload) {
  const uint64_t plane_bytes = manifest.PlaneBytes(wanted);
  const uint64_t run_bytes = manifest.PlaneBytes(slice);
  const uint64_t heads_before = slice.head_begin - wanted.head_begin;
  std::vector<Segment> segments;
  for (uint32_t layer = slice.layer_begin; layer < slice.layer_end; ++layer) {
    for (uint32_t plane = 0; plane < manifest.PlanesPerLayer(); ++plane) {
      const uint64_t planes_before =
          uint64_t{layer - wanted.layer_begin} * manifest.PlanesPerLayer() + plane;
      payload->AppendSegments(planes_before * plane_bytes + heads_before * manifest.HeadBytes(),
                              run_bytes, &segments);
    }
  }
  return segments;
}

}  // namespace

absl::Status PayloadBudget::Take(uint64_t bytes) {
  uint64_t left = left_bytes_.load(std::memory_order_relaxed);
  do {
    if (left < bytes) {
      return absl::ResourceExhaustedError(absl::StrCat("the streams hold too much payload: ", bytes,
                                                       " bytes wanted, ", left, " left"));
    }
  } while (!left_bytes_.compare_exchange_weak(left, left - bytes, std::memory_order_relaxed));
  return absl::OkStatus();
}

absl::Status Payload::Append(std::string piece) {
  RETURN_IF_ERROR(budget_->Take(piece.size()));
  taken_bytes_ += piece.size();
  bytes_ += piece.size();
  // A sender of crumbs would otherwise cost much more memory than it has budget for.
  if (!pieces_.empty() && pieces_.back().size() + piece.size() <= kPieceBytesMax) {
    pieces_.back() += piece;
  } else {
    pieces_.push_back(std::move(piece));
  }
  return absl::OkStatus();
}

absl::Status Payload::Allocate(uint64_t bytes) {
  RETURN_IF_ERROR(budget_->Take(bytes));
  taken_bytes_ += bytes;
  bytes_ = bytes;
  for (uint64_t left = bytes; left > 0; left -= pieces_.back().size()) {
    pieces_.emplace_back(std::min(left, kPieceBytesMax), '\0');
  }
  return absl::OkStatus();
}

std::vector<ConstSegment> Payload::segments() const {
  std::vector<ConstSegment> segments;
  segments.reserve(pieces_.size());
  for (const std::string& piece : pieces_) {
    segments.push_back({reinterpret_cast<const uint8_t*>(piece.data()), piece.size()});
  }
  return segments;
}

void Payload::AppendSegments(uint64_t offset, uint64_t bytes, std::vector<Segment>* segments) {
  while (bytes > 0) {
    std::string& piece = pieces_[offset / kPieceBytesMax];
    const uint64_t at = offset % kPieceBytesMax;
    const uint64_t size = std::min<uint64_t>(bytes, piece.size() - at);
    segments->push_back({reinterpret_cast<uint8_t*>(piece.data()) + at, size});
    offset += size;
    bytes -= size;
  }
}

absl::Status ReadPayload(std::span<const uint8_t> arena_data, const ContainerCodecs& codecs,
                         const SpaceDescription& space, const SpaceId& space_id,
                         const WantedChunk& wanted, std::span<const BlockExtent> extents,
                         Payload* payload, ChunkIdentity* identity) {
  const Manifest& manifest = space.manifest;
  const uint32_t levels_max = wanted.levels == 0 ? UINT32_MAX : wanted.levels;
  RETURN_IF_ERROR(payload->Allocate(manifest.PayloadBytes(wanted.part)));
  for (const BlockExtent& extent : extents) {
    ASSIGN_OR_RETURN(const ContainerView view,
                     ContainerView::Parse(arena_data.subspan(extent.offset, extent.bytes)));
    RETURN_IF_ERROR(view.CheckIdentity(manifest, space_id, wanted.key, extent.part));
    payload->LimitLevels(std::min(levels_max, view.level_count()));
    const Part slice = Intersect(extent.part, wanted.part);
    RETURN_IF_ERROR(ReadContainer(codecs, view, manifest, slice, wanted.levels,
                                  DestinationOf(manifest, wanted.part, slice, payload)));
    if (&extent == &extents.front()) *identity = view.identity();
  }
  return absl::OkStatus();
}

}  // namespace larder
