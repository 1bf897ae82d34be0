// What nodes ask each other for: a chunk of one of this node's spaces.
#pragma once

#include <compare>
#include <cstdint>
#include <utility>

#include "common/ids.h"

namespace larder {

struct FetchName {
  uint32_t space = 0;  // this node's own number of it
  KeyHash key;

  friend auto operator<=>(const FetchName&, const FetchName&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const FetchName& name) {
    return H::combine(std::move(h), name.space, name.key);
  }
};

}  // namespace larder
