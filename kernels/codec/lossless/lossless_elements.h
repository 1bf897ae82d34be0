// Elements and bit planes in memory, for CPU and GPU. A CPU loads them at any address, a GPU where
// they are aligned.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/lossless/lossless_format.h"
#include "kernels/codec/rans/rans_format.h"
#include "kernels/codec/run_layout.h"

namespace larder {

template <CodecElement kElement>
LARDER_HD uint32_t LoadElement(const uint8_t* elements, size_t index) {
  if constexpr (FloatLayout<kElement>::kWide) {
    return LoadWord(elements + index * sizeof(uint16_t));
  } else {
    return elements[index];
  }
}

template <CodecElement kElement>
LARDER_HD void StoreElement(uint8_t* elements, size_t index, uint32_t bits) {
  if constexpr (FloatLayout<kElement>::kWide) {
    StoreWord(elements + index * sizeof(uint16_t), bits);
  } else {
    elements[index] = static_cast<uint8_t>(bits);
  }
}

// One raw bit of 32 lanes; also the fields of the header.
LARDER_HD inline uint32_t LoadPlane(const uint8_t* bytes) {
#ifdef __CUDA_ARCH__
  return *reinterpret_cast<const uint32_t*>(bytes);
#else
  return LoadU32(bytes);
#endif
}
LARDER_HD inline void StorePlane(uint8_t* bytes, uint32_t bits) {
#ifdef __CUDA_ARCH__
  *reinterpret_cast<uint32_t*>(bytes) = bits;
#else
  StoreU32(bytes, bits);
#endif
}

}  // namespace larder
