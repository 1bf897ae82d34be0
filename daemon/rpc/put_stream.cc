#include "daemon/rpc/put_stream.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "daemon/core/level_cuts.h"
#include "daemon/rpc/messages.h"

namespace larder {
namespace {

constexpr int kChunksPerStreamMax = 4096;
// As good as for ever, and cannot overflow when it is added to a time.
constexpr uint64_t kTtlMaxMs = uint64_t{100} * 365 * 24 * 3600 * 1000;
// For so long a copy may be waited for by those who make it.
constexpr absl::Duration kCopyWaitMax = absl::Seconds(60);

v1::PutOutcome OutcomeOf(ReserveOutcome::Kind kind) {
  switch (kind) {
    case ReserveOutcome::Kind::kGranted:
      return v1::PUT_OUTCOME_STORED;
    case ReserveOutcome::Kind::kExists:
      return v1::PUT_OUTCOME_EXISTS;
    case ReserveOutcome::Kind::kBusy:
      return v1::PUT_OUTCOME_BUSY;
    case ReserveOutcome::Kind::kNoSpace:
      return v1::PUT_OUTCOME_NO_SPACE;
    case ReserveOutcome::Kind::kOverlaps:
      return v1::PUT_OUTCOME_OVERLAPS;
    case ReserveOutcome::Kind::kRefused:
      return v1::PUT_OUTCOME_REFUSED;
    case ReserveOutcome::Kind::kQuota:
      return v1::PUT_OUTCOME_QUOTA;
  }
  return v1::PUT_OUTCOME_UNSPECIFIED;
}

ReserveItem ItemOf(const ChunkIdentity& identity, uint64_t bytes) {
  return {.key = HashKey(identity.key),
          .parent = identity.parent,
          .depth = identity.depth,
          .part = identity.part,
          .bytes = bytes};
}

}  // namespace

absl::Status PutStream::Receive(v1::PutRequest request) {
  absl::Status status;
  switch (request.message_case()) {
    case v1::PutRequest::kHeader:
      status = Begin(request.header());
      break;
    case v1::PutRequest::kData:
      status = Add(std::move(*request.mutable_data()));
      break;
    case v1::PutRequest::MESSAGE_NOT_SET:
      status = absl::InvalidArgumentError("message: neither header nor data");
      break;
  }
  return Annotate(status, absl::StrCat("chunk ", response_->outcomes_size()));
}

absl::Status PutStream::Finish() const {
  if (!incoming_) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("chunk ", response_->outcomes_size(), ": data: the stream ended after ",
                   incoming_->received_bytes, " of ", incoming_->expected_bytes, " bytes"));
}

absl::Status PutStream::Begin(const v1::PutHeader& header) {
  if (incoming_) {
    return absl::InvalidArgumentError(absl::StrCat("header: the next chunk begins after ",
                                                   incoming_->received_bytes, " of ",
                                                   incoming_->expected_bytes, " bytes of data"));
  }
  if (response_->outcomes_size() >= kChunksPerStreamMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("header: more than ", kChunksPerStreamMax, " chunks in one stream"));
  }
  RETURN_IF_ERROR(ResolveSpace(header));
  const Manifest& manifest = space_->description.manifest;
  ChunkIdentity identity;
  identity.space = space_->id;
  identity.manifest = manifest.Id();
  ASSIGN_OR_RETURN(identity.key, ParseKey("key", header.key()));
  if (!header.parent().empty()) {
    ASSIGN_OR_RETURN(const ChunkKey parent, ParseKey("parent", header.parent()));
    identity.parent = HashKey(parent);
  }
  identity.depth = header.depth();
  identity.token_count =
      header.token_count() == 0 ? manifest.tokens_per_chunk : header.token_count();
  if (identity.token_count > manifest.tokens_per_chunk) {
    return absl::InvalidArgumentError(absl::StrCat("token_count: ", identity.token_count,
                                                   " is over the manifest's ",
                                                   manifest.tokens_per_chunk));
  }
  ASSIGN_OR_RETURN(identity.part,
                   ParsePart(header.has_part() ? &header.part() : nullptr, manifest));
  if (header.ttl_ms() > kTtlMaxMs) {
    return absl::InvalidArgumentError(absl::StrCat("ttl_ms: over ", kTtlMaxMs));
  }
  if (header.category() >= kChunkCategories) {
    return absl::InvalidArgumentError(
        absl::StrCat("category: ", header.category(), " is over ", kChunkCategories - 1));
  }
  incoming_.emplace(budget_);
  incoming_->identity = std::move(identity);
  incoming_->expected_bytes = manifest.PayloadBytes(incoming_->identity.part);
  if (header.ttl_ms() != 0) incoming_->options.ttl = absl::Milliseconds(header.ttl_ms());
  incoming_->options.pin = header.pin();
  incoming_->options.category = static_cast<uint8_t>(header.category());
  RETURN_IF_ERROR(ChooseForm(header));
  RETURN_IF_ERROR(ChooseCopies(header));
  return LookForPart();
}

absl::Status PutStream::ChooseForm(const v1::PutHeader& header) {
  const Manifest& manifest = space_->description.manifest;
  ASSIGN_OR_RETURN(incoming_->codec, ParseCodec("codec", header.codec(), manifest.codec));
  incoming_->levels = header.levels();
  if (header.codec() == v1::CODEC_UNSPECIFIED && header.levels() == 0) {
    incoming_->levels = manifest.levels;
  }
  RETURN_IF_ERROR(CheckLevels(incoming_->codec, incoming_->levels));
  return Annotate(CheckCodec(codecs_, incoming_->codec, manifest), "codec");
}

absl::Status PutStream::ChooseCopies(const v1::PutHeader& header) {
  if (header.copies() == 0 && header.copy_to().empty()) return absl::OkStatus();
  if (header.copies() != 0 && !header.copy_to().empty()) {
    return absl::InvalidArgumentError("copies: says how many, or copy_to on which node, not both");
  }
  if (access_->node().cluster() == nullptr) {
    return absl::FailedPreconditionError("copies: this node belongs to no cluster");
  }
  incoming_->copies = header.copies();
  incoming_->copy_to = header.copy_to();
  return absl::OkStatus();
}

absl::Status PutStream::ResolveSpace(const v1::PutHeader& header) {
  absl::StatusOr<SpaceInfo> space;
  if (header.has_description()) {
    ASSIGN_OR_RETURN(const SpaceDescription description,
                     ParseSpaceDescription(header.description()));
    space = access_->OpenSpace(context_, description);
  } else {
    ASSIGN_OR_RETURN(const SpaceId id, ParseSpaceId("space_id", header.space_id()));
    if (space_ && space_->id == id) return absl::OkStatus();
    space = access_->FindSpace(context_, id);
  }
  RETURN_IF_ERROR(space.status());
  space_ = *std::move(space);
  return absl::OkStatus();
}

absl::Status PutStream::LookForPart() {
  return access_->Run(context_, [&](Core& core, SessionId, MonotonicTime) {
    const auto chunk = core.Inspect(space_->handle, HashKey(incoming_->identity.key));
    if (!chunk) return absl::OkStatus();
    for (const BlockExtent& extent : chunk->extents) {
      if (extent.part == incoming_->identity.part) incoming_->exists = true;
    }
    return absl::OkStatus();
  });
}

absl::Status PutStream::Add(std::string piece) {
  if (!incoming_) return absl::InvalidArgumentError("data: comes before a header");
  if (piece.size() > kPieceBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("data: a piece of ", piece.size(), " bytes, the limit is ", kPieceBytesMax));
  }
  if (piece.size() > incoming_->expected_bytes - incoming_->received_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("data: more than the chunk's ",
                                                   incoming_->expected_bytes, " bytes of payload"));
  }
  incoming_->received_bytes += piece.size();
  if (!incoming_->exists) RETURN_IF_ERROR(incoming_->payload.Append(std::move(piece)));
  if (incoming_->received_bytes < incoming_->expected_bytes) return absl::OkStatus();
  if (incoming_->exists) {
    response_->add_outcomes(v1::PUT_OUTCOME_EXISTS);
  } else {
    RETURN_IF_ERROR(Store());
  }
  const v1::PutOutcome outcome = response_->outcomes(response_->outcomes_size() - 1);
  if (outcome == v1::PUT_OUTCOME_STORED || outcome == v1::PUT_OUTCOME_EXISTS) {
    RETURN_IF_ERROR(Copy());
  }
  incoming_.reset();
  return absl::OkStatus();
}

absl::Status PutStream::Store() {
  if (incoming_->codec != ContainerCodec::kRaw) return StoreCoded();
  const Manifest& manifest = space_->description.manifest;
  return StoreContainer(RawContainerBytes(manifest, incoming_->identity.part),
                        [&](std::span<uint8_t> destination) {
                          return WriteRawContainer(destination, manifest, incoming_->identity,
                                                   incoming_->payload.segments());
                        });
}

absl::Status PutStream::StoreCoded() {
  // What is encoded is held beside the payload, and takes about as much at most.
  RETURN_IF_ERROR(budget_->Take(incoming_->expected_bytes));
  const absl::Cleanup give_back = [&] { budget_->Return(incoming_->expected_bytes); };
  ASSIGN_OR_RETURN(
      const std::vector<uint8_t> container,
      EncodeContainer(codecs_, incoming_->codec, incoming_->levels, space_->description.manifest,
                      incoming_->identity, incoming_->payload.segments()));
  return StoreContainer(container.size(), [&](std::span<uint8_t> destination) {
    std::copy(container.begin(), container.end(), destination.begin());
    return absl::OkStatus();
  });
}

absl::Status PutStream::StoreContainer(uint64_t bytes,
                                       absl::FunctionRef<absl::Status(std::span<uint8_t>)> write) {
  ScopedReservation reservation(access_);
  std::span<uint8_t> destination;
  auto outcome = ReserveOutcome::Kind::kNoSpace;
  RETURN_IF_ERROR(Reserve(bytes, &reservation, &destination, &outcome));
  if (outcome == ReserveOutcome::Kind::kGranted) {
    RETURN_IF_ERROR(write(destination));
    ASSIGN_OR_RETURN(const ContainerView container, ContainerView::Parse(destination));
    const BlockCuts cuts = CutsOf(container);
    const auto commit = [&](Core& core, SessionId session, MonotonicTime now) -> absl::Status {
      const ReservationId id = reservation.id();
      RETURN_IF_ERROR(core.SetCuts(session, id, cuts));
      // Whether it succeeds or not, the reservation is gone.
      reservation.Committed();
      return core.Commit(session, std::span(&id, 1), now).front();
    };
    RETURN_IF_ERROR(access_->Run(context_, commit));
    response_->set_stored_bytes(response_->stored_bytes() + incoming_->expected_bytes);
  }
  response_->add_outcomes(OutcomeOf(outcome));
  return absl::OkStatus();
}

absl::Status PutStream::Copy() {
  if (incoming_->copies == 0 && incoming_->copy_to.empty()) return absl::OkStatus();
  return access_->Run(context_, [&](Core&, SessionId, MonotonicTime now) {
    const bool accepted = static_cast<bool>(access_->node().cluster()->core().Replicate(
        space_->handle, HashKey(incoming_->identity.key), incoming_->copies, incoming_->copy_to,
        now + kCopyWaitMax, now));
    response_->set_copies_accepted(response_->copies_accepted() + (accepted ? 1 : 0));
    return absl::OkStatus();
  });
}

absl::Status PutStream::Reserve(uint64_t bytes, ScopedReservation* reservation,
                                std::span<uint8_t>* destination, ReserveOutcome::Kind* outcome) {
  const ReserveItem item = ItemOf(incoming_->identity, bytes);
  return access_->Run(
      context_, [&](Core& core, SessionId session, MonotonicTime now) -> absl::Status {
        ASSIGN_OR_RETURN(
            const std::vector<ReserveOutcome> outcomes,
            core.Reserve(session, space_->handle, std::span(&item, 1), incoming_->options, now));
        *outcome = outcomes.front().kind;
        if (*outcome != ReserveOutcome::Kind::kGranted) return absl::OkStatus();
        reservation->Hold(outcomes.front().id);
        *destination = access_->arena_data().subspan(outcomes.front().offset, item.bytes);
        return absl::OkStatus();
      });
}

}  // namespace larder
