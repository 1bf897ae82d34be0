// Planes to test codecs with, and encoding and decoding them in memory of the very size, so that
// AddressSanitizer sees every byte beyond.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/random.h"
#include "kernels/codec/codec.h"

namespace larder {

inline constexpr CodecElement kCodecElements[] = {CodecElement::kBfloat16, CodecElement::kFloat16,
                                                  CodecElement::kFloat8E4M3,
                                                  CodecElement::kFloat8E5M2};

// Small enough for a property test; one to four heads, any of the head dims, any filling.
PlaneGeometry RandomGeometry(Random& random);

enum class PlaneContent {
  kChannels,  // like a cache: each channel has a mean and a spread
  kSpecials,  // the same, with infinities, NaNs, zeros and subnormals in between
  kZero,
  kAnyBits,
};
inline constexpr PlaneContent kPlaneContents[] = {PlaneContent::kChannels, PlaneContent::kSpecials,
                                                  PlaneContent::kZero, PlaneContent::kAnyBits};

// All geometry.PlaneBytes(), also what is not filled.
std::vector<uint8_t> RandomPlane(Random& random, const PlaneGeometry& geometry,
                                 PlaneContent content);

// The nearest element, and an element's value. For tests: uses the processor's floats.
uint32_t ElementOf(CodecElement element, double value);
double ValueOf(CodecElement element, uint32_t bits);

// The i-th element of a plane.
uint32_t LoadElementBits(const PlaneGeometry& geometry, std::span<const uint8_t> plane, size_t i);

// The plane as a decoder returns it when nothing is lost: zeros where nothing is filled.
std::vector<uint8_t> WithUnfilledZero(const PlaneGeometry& geometry, std::vector<uint8_t> plane);

// The part of a whole plane that the range names.
std::vector<uint8_t> Cut(const PlaneGeometry& geometry, std::span<const uint8_t> plane,
                         const PlaneRange& range);

PlaneRange RandomRange(Random& random, const PlaneGeometry& geometry);

// One level. Failing is a failure of the test.
std::vector<uint8_t> EncodeRun(const Codec& codec, const PlaneGeometry& geometry,
                               const PlanePlace& place, std::span<const uint8_t> plane);
CodecStatus DecodeRun(const Codec& codec, const PlaneGeometry& geometry, const PlanePlace& place,
                      std::span<const uint8_t> run, const PlaneRange& range,
                      std::vector<uint8_t>& result);

using Runs = std::vector<std::vector<uint8_t>>;  // one a level

// Decodes from memory that holds what FindNeeded names, and noise elsewhere; `needed_bytes` becomes
// how much that was.
CodecStatus DecodeNeeded(const Codec& codec, const PlaneGeometry& geometry, const PlanePlace& place,
                         const Runs& runs, const PlaneRange& range, std::vector<uint8_t>& result,
                         size_t& needed_bytes);

}  // namespace larder
