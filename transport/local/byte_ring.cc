#include "transport/local/byte_ring.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

constexpr uint64_t RoundUpToAlignment(uint64_t size) {
  return (size + kFrameAlignmentBytes - 1) / kFrameAlignmentBytes * kFrameAlignmentBytes;
}

uint64_t LoadPosition(uint64_t& position) {
  return std::atomic_ref<uint64_t>(position).load(std::memory_order_seq_cst);
}

// Words are loaded atomically so that the compiler may not load them a second time after a check.
uint64_t LoadWord(uint8_t* at) {
  return std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(at))
      .load(std::memory_order_relaxed);
}

FrameHeader LoadHeader(uint8_t* at) {
  uint64_t words[sizeof(FrameHeader) / sizeof(uint64_t)];
  for (uint64_t& word : words) {
    word = LoadWord(at);
    at += sizeof word;
  }
  return std::bit_cast<FrameHeader>(words);
}

}  // namespace

absl::Status RingWriter::LoadConsumerPosition() {
  const uint64_t consumer = LoadPosition(positions_->consumer_position);
  // Both differences are taken modulo 2^64, so a position that ran backwards or ahead is huge.
  if (consumer - consumer_seen_ > producer_ - consumer_seen_) {
    return absl::DataLossError(absl::StrCat("ring consumer position ", consumer,
                                            " is not between its last value ", consumer_seen_,
                                            " and the producer's ", producer_));
  }
  consumer_seen_ = consumer;
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> RingWriter::PaddingBefore(uint64_t stored_bytes) {
  const uint64_t offset = producer_ & (bytes_.size() - 1);
  const uint64_t bytes_to_end = bytes_.size() - offset;
  if (bytes_to_end < stored_bytes) return bytes_to_end;
  // The padding occupies room until the consumer has passed it: only small frames go back, so that
  // most of the hot part is left for those that follow at once.
  if (offset < kRingHotBytes || stored_bytes > kRingHotBytes / 4) return 0;
  RETURN_IF_ERROR(LoadConsumerPosition());
  return consumer_seen_ == producer_ ? bytes_to_end : 0;
}

absl::Status RingWriter::TryWrite(const FrameLabel& label, std::span<const uint8_t> payload) {
  RETURN_IF_ERROR(CheckPayloadSize(payload.size()));
  const FrameHeader header = MakeFrameHeader(label, payload.size());
  const uint64_t stored_bytes = RoundUpToAlignment(header.frame_bytes);
  ASSIGN_OR_RETURN(const uint64_t padding_bytes, PaddingBefore(stored_bytes));
  const uint64_t needed_bytes = padding_bytes + stored_bytes;
  if (bytes_.size() - (producer_ - consumer_seen_) < needed_bytes) {
    RETURN_IF_ERROR(LoadConsumerPosition());
    const uint64_t free_bytes = bytes_.size() - (producer_ - consumer_seen_);
    if (free_bytes < needed_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat("ring of ", bytes_.size(), " bytes has ",
                                                       free_bytes, " free, a frame needs ",
                                                       needed_bytes));
    }
  }
  uint8_t* at = bytes_.data() + (producer_ & (bytes_.size() - 1));
  if (padding_bytes > 0) {
    const PaddingHeader padding = {.magic = kPaddingMagic,
                                   .padding_bytes = static_cast<uint32_t>(padding_bytes)};
    std::memcpy(at, &padding, sizeof padding);
    at = bytes_.data();
  }
  std::memcpy(at, &header, sizeof header);
  if (!payload.empty()) std::memcpy(at + sizeof header, payload.data(), payload.size());
  producer_ += needed_bytes;
  std::atomic_ref<uint64_t>(positions_->producer_position)
      .store(producer_, std::memory_order_seq_cst);
  return absl::OkStatus();
}

bool RingReader::Readable() const {
  return producer_seen_ != consumer_ || LoadPosition(positions_->producer_position) != consumer_;
}

absl::StatusOr<bool> RingReader::TryRead(Frame* frame) {
  if (producer_seen_ == consumer_) RETURN_IF_ERROR(LoadProducerPosition());
  if (producer_seen_ == consumer_) return false;
  RETURN_IF_ERROR(SkipPadding());
  if (producer_seen_ == consumer_) return false;
  RETURN_IF_ERROR(ReadFrame(frame));
  return true;
}

absl::Status RingReader::LoadProducerPosition() {
  const uint64_t producer = LoadPosition(positions_->producer_position);
  // Called only when everything seen is consumed: a position that ran backwards is a huge distance.
  const uint64_t distance_bytes = producer - consumer_;
  if (distance_bytes > bytes_.size() || distance_bytes % kFrameAlignmentBytes != 0) {
    return Malformed(absl::StrCat("producer position ", producer));
  }
  producer_seen_ = producer;
  return absl::OkStatus();
}

absl::Status RingReader::SkipPadding() {
  const uint64_t offset = consumer_ & (bytes_.size() - 1);
  const auto padding = std::bit_cast<PaddingHeader>(LoadWord(bytes_.data() + offset));
  if (padding.magic != kPaddingMagic) return absl::OkStatus();
  // Padding ends at the ring's end and never fills the whole ring, so at most one is skipped.
  const uint64_t bytes_to_end = bytes_.size() - offset;
  if (offset == 0 || padding.padding_bytes != bytes_to_end ||
      padding.padding_bytes > producer_seen_ - consumer_) {
    return Malformed(absl::StrCat("padding of ", padding.padding_bytes, " bytes"));
  }
  Consume(padding.padding_bytes);
  return absl::OkStatus();
}

absl::Status RingReader::ReadFrame(Frame* frame) {
  const uint64_t offset = consumer_ & (bytes_.size() - 1);
  const uint64_t available_bytes = std::min(producer_seen_ - consumer_, bytes_.size() - offset);
  if (available_bytes < sizeof(FrameHeader)) {
    return Malformed(absl::StrCat("frame header with ", available_bytes, " bytes left"));
  }
  uint8_t* at = bytes_.data() + offset;
  const FrameHeader header = LoadHeader(at);
  if (absl::Status status = CheckFrameHeader(header, available_bytes); !status.ok()) {
    return Malformed(status.message());
  }
  // A frame that fits into the aligned `available_bytes` also fits when rounded up.
  frame->header = header;
  frame->payload.assign(at + sizeof header, at + header.frame_bytes);
  Consume(RoundUpToAlignment(header.frame_bytes));
  return absl::OkStatus();
}

void RingReader::Consume(uint64_t byte_count) {
  consumer_ += byte_count;
  std::atomic_ref<uint64_t>(positions_->consumer_position)
      .store(consumer_, std::memory_order_release);
}

absl::Status RingReader::Malformed(absl::string_view what) const {
  return absl::DataLossError(absl::StrCat("ring of ", bytes_.size(), " bytes at consumer position ",
                                          consumer_, ": ", what));
}

}  // namespace larder
