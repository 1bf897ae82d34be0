#include "daemon/cluster/checked_arrival.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {

CheckedArrival CheckArrival(std::span<const uint8_t> room, const PeerFetched& fetched) {
  CheckedArrival arrival;
  for (const FetchedPart& part : fetched.parts) {
    if (part.offset > room.size() || part.bytes > room.size() - part.offset) {
      arrival.problem = absl::StrCat("a container at ", part.offset, " of ", part.bytes,
                                     " bytes lies outside the window of ", room.size(), " bytes");
      return arrival;
    }
    absl::StatusOr<ContainerView> view =
        ContainerView::Parse(room.subspan(part.offset, part.bytes));
    const absl::Status sound = view.ok() ? view->VerifyBodies() : view.status();
    if (!sound.ok()) {
      arrival.problem = std::string(sound.message());
      return arrival;
    }
    arrival.containers.push_back(*std::move(view));
  }
  return arrival;
}

}  // namespace larder
