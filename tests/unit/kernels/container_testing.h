// Small chunks for the tests of the container: random geometries and contents that follow from the
// coordinates, so that every slice has a naive model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/random.h"
#include "kernels/format/container.h"
#include "kernels/format/manifest.h"

namespace larder {

// Two to a few thousand bytes of payload; passes Validate.
Manifest RandomManifest(Random& random);

// A non-empty slice of `whole`.
Part RandomPart(Random& random, const Part& whole);

// An identity that fits the manifest, with a random key, parent and depth.
ChunkIdentity RandomIdentity(Random& random, const Manifest& manifest, const Part& part);

// The payload of `part` in canonical order, made one byte at a time from the coordinates.
std::vector<uint8_t> ModelPayload(const Manifest& manifest, const Part& part);

// `bytes` cut at random places, with empty segments in between.
std::vector<ConstSegment> RandomSegments(Random& random, std::span<const uint8_t> bytes);
std::vector<Segment> RandomSegments(Random& random, std::span<uint8_t> bytes);

// A container of ModelPayload.
std::vector<uint8_t> ModelContainer(const Manifest& manifest, const ChunkIdentity& identity);

// Makes the checksums of header and table of contents right again after a change, where the header
// still says something about the table that `container` can satisfy.
void RepairChecksums(std::span<uint8_t> container);

}  // namespace larder
