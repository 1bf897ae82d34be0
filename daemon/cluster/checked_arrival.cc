#include "daemon/cluster/checked_arrival.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

bool SamePlane(const ContainerTocEntry& a, const ContainerTocEntry& b) {
  return a.offset == b.offset && a.stored_bytes == b.stored_bytes && a.crc32c == b.crc32c;
}

}  // namespace

void ArrivalCheck::OnLanded(uint64_t offset, uint64_t bytes) {
  if (given_up_) return;
  // What comes twice, or not in order, is summed when all is there.
  given_up_ = offset != landed_end_ || bytes > room_.size() - offset;
  if (given_up_) {
    view_.reset();
    return;
  }
  landed_end_ += bytes;
  if (!view_) {
    const std::optional<uint64_t> size = ContainerView::SizeOf(room_.first(landed_end_));
    if (!size) return;
    absl::StatusOr<ContainerView> view = *size <= room_.size()
                                             ? ContainerView::Parse(room_.first(*size))
                                             : absl::OutOfRangeError("");
    given_up_ = !view.ok();
    if (given_up_) return;
    view_ = *std::move(view);
  }
  size_t end = verified_;
  const std::span<const ContainerTocEntry> entries = view_->entries();
  while (end < entries.size() &&
         AlignToPlane(entries[end].offset + entries[end].stored_bytes) <= landed_end_) {
    ++end;
  }
  given_up_ = !view_->VerifyBodies(verified_, end).ok();  // Finish says what is wrong.
  if (given_up_) view_.reset();
  verified_ = end;
}

absl::Status ArrivalCheck::VerifyRest(const ContainerView& container,
                                      const FetchedPart& part) const {
  const bool known = view_ && part.offset == 0 &&
                     std::equal(view_->entries().begin(), view_->entries().end(),
                                container.entries().begin(), container.entries().end(), SamePlane);
  return container.VerifyBodies(known ? verified_ : 0, container.entries().size());
}

CheckedArrival ArrivalCheck::Finish(const PeerFetched& fetched) const {
  CheckedArrival arrival;
  for (const FetchedPart& part : fetched.parts) {
    if (part.offset > room_.size() || part.bytes > room_.size() - part.offset) {
      arrival.problem = absl::StrCat("a container at ", part.offset, " of ", part.bytes,
                                     " bytes lies outside the window of ", room_.size(), " bytes");
      return arrival;
    }
    absl::StatusOr<ContainerView> view =
        ContainerView::Parse(room_.subspan(part.offset, part.bytes));
    const absl::Status sound = view.ok() ? VerifyRest(*view, part) : view.status();
    if (!sound.ok()) {
      arrival.problem = std::string(sound.message());
      return arrival;
    }
    arrival.containers.push_back(*std::move(view));
  }
  return arrival;
}

}  // namespace larder
