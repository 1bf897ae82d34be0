// How a listing goes on: a cursor that is good for one daemon's life and one filter.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace larder {

inline constexpr uint32_t kPageSizeDefault = 100;
inline constexpr uint32_t kPageSizeMax = 1000;

// 0 means the default; INVALID_ARGUMENT beyond the limit.
absl::StatusOr<uint32_t> ParsePageSize(uint32_t page_size);

// `filter` is whatever the listing is restricted by, `epoch` the daemon's.
std::string MakePageToken(absl::string_view filter, uint64_t epoch, uint32_t cursor);

// 0 for an empty token; INVALID_ARGUMENT when it is of another filter or daemon, or nonsense.
absl::StatusOr<uint32_t> ParsePageToken(absl::string_view token, absl::string_view filter,
                                        uint64_t epoch);

}  // namespace larder
