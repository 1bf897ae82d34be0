// Identities that must not be mixed up: each is a type of its own.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace larder {

// 128 bits, compared and hashed as a whole; the tag keeps two kinds of identity apart.
template <typename Tag>
struct Id128 {
  uint64_t low = 0;
  uint64_t high = 0;

  friend auto operator<=>(const Id128&, const Id128&) = default;
  bool IsZero() const { return low == 0 && high == 0; }

  template <typename H>
  friend H AbslHashValue(H h, const Id128& id) {
    return H::combine(std::move(h), id.low, id.high);
  }
};

// Names the bytes' meaning: hash of the serialised manifest (kernels/format/manifest.h).
using ManifestId = Id128<struct ManifestIdTag>;
// Names (tenant, manifest, salt); keys of different spaces never meet.
using SpaceId = Id128<struct SpaceIdTag>;
// Hash of an engine's chunk key within its space. The zero value means "none".
using KeyHash = Id128<struct KeyHashTag>;

// 32 lower-case hexadecimal digits, high word first.
std::string ToHex(uint64_t high, uint64_t low);
absl::Status ParseHex128(absl::string_view hex, uint64_t* high, uint64_t* low);

template <typename Tag>
std::string ToString(const Id128<Tag>& id) {
  return ToHex(id.high, id.low);
}

// A number that names one session, lease or reservation of one daemon's lifetime; 0 means "none".
template <typename Tag>
struct Handle {
  uint64_t value = 0;

  friend auto operator<=>(const Handle&, const Handle&) = default;
  explicit operator bool() const { return value != 0; }

  template <typename H>
  friend H AbslHashValue(H h, const Handle& handle) {
    return H::combine(std::move(h), handle.value);
  }
};

using SessionId = Handle<struct SessionIdTag>;
using LeaseId = Handle<struct LeaseIdTag>;
using ReservationId = Handle<struct ReservationIdTag>;

}  // namespace larder
