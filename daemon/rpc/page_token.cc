#include "daemon/rpc/page_token.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "common/ids.h"
#include "daemon/rpc/messages.h"

namespace larder {

absl::StatusOr<uint32_t> ParsePageSize(uint32_t page_size) {
  if (page_size > kPageSizeMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_size: 1 to ", kPageSizeMax, ", not ", page_size));
  }
  return page_size == 0 ? kPageSizeDefault : page_size;
}

std::string MakePageToken(absl::string_view filter, uint64_t epoch, uint32_t cursor) {
  return ToHex(HashBytes(BytesOf(filter), epoch).low, cursor);
}

absl::StatusOr<uint32_t> ParsePageToken(absl::string_view token, absl::string_view filter,
                                        uint64_t epoch) {
  if (token.empty()) return 0;
  uint64_t tag = 0;
  uint64_t cursor = 0;
  if (!ParseHex128(token, &tag, &cursor).ok() || tag != HashBytes(BytesOf(filter), epoch).low ||
      cursor > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(
        "page_token: not one that this daemon gave for the same request");
  }
  return static_cast<uint32_t>(cursor);
}

}  // namespace larder
