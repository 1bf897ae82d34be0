// Chunks whose keys and bytes follow from a number, so that every process can check any of them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "client/client.h"
#include "common/hash.h"
#include "kernels/format/manifest.h"

namespace larder {

// A model whose chunks have `layers` x 16 KiB of payload.
Manifest KnownManifest(uint32_t layers = 4);

// The keys of the chain `number`: chunk i of it, whatever `count` is.
std::vector<Sha256Digest> KnownKeys(uint64_t number, size_t count);

// Memory for the payloads of `count` chunks, reused from chain to chain. Not thread-safe.
class KnownBuffers {
 public:
  KnownBuffers(size_t count, const Manifest& manifest);

  // Writes what the chunks of these keys hold.
  void Fill(const std::vector<Sha256Digest>& keys);
  // Writes something else, so that a chunk that is not fetched cannot pass for one that was.
  void Spoil();
  // How many of the first `count` chunks hold what their keys say, up to the first that does not.
  size_t CountRight(const std::vector<Sha256Digest>& keys, size_t count) const;

  std::span<const GatherList> sources(size_t count) const {
    return std::span(gather_).first(count);
  }
  std::span<const ScatterList> destinations(size_t count) const {
    return std::span(scatter_).first(count);
  }

 private:
  std::vector<std::vector<uint8_t>> payloads_;
  std::vector<ConstSegment> sources_;
  std::vector<Segment> destinations_;
  std::vector<GatherList> gather_;
  std::vector<ScatterList> scatter_;
};

// What came of looking for a chain chunk by chunk.
struct ChainCheck {
  uint32_t present = 0;  // right in every byte
  uint32_t absent = 0;
  std::string trouble;  // the first chunk that was wrong or could not be looked at; empty: none
};

// Fetches every chunk of the chain on its own, whether its parents are there or not, and compares
// every byte. A chunk that Match saw and Fetch no longer finds counts as absent.
ChainCheck CheckChain(ClientSpace& space, uint64_t number, size_t count, KnownBuffers& buffers);

}  // namespace larder
