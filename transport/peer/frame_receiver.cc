#include "transport/peer/frame_receiver.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/crc32c.h"

namespace larder {
namespace {

// Read ahead of what is known: a frame of a message and its header mostly fit.
constexpr size_t kStagingBytes = 4096;
// Summed while it is still in the cache.
constexpr uint64_t kTileBytes = 256 * 1024;
constexpr size_t kDiscardedBytes = 64 * 1024;

}  // namespace

FrameReceiver::FrameReceiver(std::span<uint8_t> memory, uint32_t message_bytes_max)
    : memory_(memory), message_bytes_max_(message_bytes_max), staging_(kStagingBytes) {}

// The next `bytes` of the payload as parts_.
void FrameReceiver::TargetOf(uint64_t bytes, size_t ranges_max) {
  parts_count_ = 0;
  if (window_ != nullptr) {
    slice_.clear();
    window_->ranges.Slice(frame_.position + payload_done_, bytes, ranges_max, &slice_);
    for (const MemoryRange& range : slice_) {
      parts_[parts_count_++] = {memory_.data() + range.offset, range.bytes};
    }
  } else if (frame_.kind == PeerFrameKind::kWrite) {
    discarded_.resize(kDiscardedBytes);
    for (uint64_t rest = bytes; rest > 0 && parts_count_ < ranges_max;) {
      const uint64_t part = std::min<uint64_t>(rest, discarded_.size());
      parts_[parts_count_++] = {discarded_.data(), part};
      rest -= part;
    }
  } else {
    parts_[parts_count_++] = {payload_.data() + payload_done_, bytes};
  }
}

std::span<const iovec> FrameReceiver::Prepare() {
  parts_count_ = payload_parts_ = 0;
  uint64_t covered = 0;
  if (state_ == State::kPayload && rest() > 0) {
    TargetOf(std::min(rest(), kTileBytes), parts_.size() - 1);
    for (size_t i = 0; i < parts_count_; ++i) covered += parts_[i].iov_len;
    payload_parts_ = parts_count_;
  }
  if (state_ == State::kHeader || covered == rest()) {
    if (staging_begin_ > 0) {
      std::memmove(staging_.data(), staging_.data() + staging_begin_,
                   staging_end_ - staging_begin_);
      staging_end_ -= std::exchange(staging_begin_, 0);
    }
    parts_[parts_count_++] = {staging_.data() + staging_end_, staging_.size() - staging_end_};
  }
  return std::span(parts_).first(parts_count_);
}

void FrameReceiver::Received(size_t bytes) {
  for (size_t i = 0; i < payload_parts_ && bytes > 0; ++i) {
    const size_t part = std::min(bytes, parts_[i].iov_len);
    Sum({static_cast<const uint8_t*>(parts_[i].iov_base), part});
    payload_done_ += part;
    bytes -= part;
  }
  staging_end_ += bytes;
  parts_count_ = payload_parts_ = 0;
}

FrameReceiver::Landed FrameReceiver::TakeLanded() {
  const uint64_t from = std::exchange(payload_told_, payload_done_);
  if (window_ == nullptr || window_->sum != PayloadSum::kContent ||
      window_->read_token.has_value()) {
    return {};
  }
  return {
      .window = window_->number, .offset = frame_.position + from, .bytes = payload_done_ - from};
}

void FrameReceiver::Sum(std::span<const uint8_t> bytes) {
  if (summed_) crc_ = Crc32c(bytes, crc_);
}

// What came ahead of its time goes where it belongs.
void FrameReceiver::ConsumeStaged() {
  while (rest() > 0 && staging_begin_ < staging_end_) {
    TargetOf(std::min<uint64_t>(rest(), staging_end_ - staging_begin_), parts_.size());
    for (size_t i = 0; i < parts_count_; ++i) {
      const std::span<uint8_t> part(static_cast<uint8_t*>(parts_[i].iov_base), parts_[i].iov_len);
      std::memcpy(part.data(), staging_.data() + staging_begin_, part.size());
      Sum(part);
      staging_begin_ += part.size();
      payload_done_ += part.size();
    }
  }
}

absl::StatusOr<FrameReceiver::Step> FrameReceiver::Next() {
  if (state_ == State::kHeader) {
    if (staging_end_ - staging_begin_ < sizeof(PeerFrameHeader)) return Step::kNeedMore;
    const std::span<const uint8_t, sizeof(PeerFrameHeader)> header(staging_.data() + staging_begin_,
                                                                   sizeof(PeerFrameHeader));
    ASSIGN_OR_RETURN(frame_, DecodePeerHeader(header, message_bytes_max_));
    staging_begin_ += sizeof(PeerFrameHeader);
    payload_done_ = payload_told_ = 0;
    crc_ = 0;
    summed_ = (frame_.flags & kPeerFlagContentSum) == 0 && frame_.payload_bytes > 0;
    if (frame_.kind == PeerFrameKind::kWrite) {
      summed_ = false;  // unless it lands somewhere
    } else {
      payload_.resize(frame_.payload_bytes);
    }
    state_ = State::kPayload;
    return Step::kHeader;
  }
  ConsumeStaged();
  if (rest() > 0) return Step::kNeedMore;
  state_ = State::kHeader;
  if (summed_ && crc_ != frame_.payload_crc) {
    return absl::DataLossError(absl::StrCat("the payload's checksum of a frame of kind ",
                                            static_cast<int>(frame_.kind), " is wrong"));
  }
  return Step::kFrame;
}

void FrameReceiver::Land(std::shared_ptr<Window> window) {
  window_ = std::move(window);
  summed_ = (frame_.flags & kPeerFlagContentSum) == 0;
}

std::shared_ptr<Window> FrameReceiver::Divert() {
  summed_ = summed_ && window_ == nullptr;
  return std::exchange(window_, nullptr);
}

}  // namespace larder
