#include "tools/bench/geometry.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace larder {
namespace {

// Keys and values, two bytes an element.
constexpr uint64_t kBytesPerElementPair = 4;
constexpr uint64_t kLayersWanted = 8;
constexpr uint64_t kHeadsWanted = 8;

Manifest BenchmarkManifest() {
  Manifest manifest;
  manifest.model = "larder-bench";
  manifest.revision = "1";
  manifest.hash_scheme = "sha256(workload, block id)";
  return manifest;
}

}  // namespace

absl::StatusOr<Manifest> ManifestOfSize(uint64_t bytes_per_token, uint32_t tokens_per_chunk) {
  if (bytes_per_token == 0 || bytes_per_token % kBytesPerElementPair != 0) {
    return absl::InvalidArgumentError(absl::StrCat("bytes per token is ", bytes_per_token,
                                                   ", must be a multiple of ", kBytesPerElementPair,
                                                   ": a key and a value of two bytes"));
  }
  const uint64_t pairs = bytes_per_token / kBytesPerElementPair;
  const uint64_t layers = std::gcd(pairs, kLayersWanted);
  const uint64_t heads = std::gcd(pairs / layers, kHeadsWanted);
  const uint64_t head_dim = pairs / layers / heads;
  if (head_dim > kHeadDimMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "bytes per token is ", bytes_per_token, ", too large: ", layers, " layers of ", heads,
        " heads would have ", head_dim, " elements a head, the limit is ", kHeadDimMax));
  }
  Manifest manifest = BenchmarkManifest();
  manifest.layers = static_cast<uint32_t>(layers);
  manifest.heads = static_cast<uint32_t>(heads);
  manifest.head_dim = static_cast<uint32_t>(head_dim);
  manifest.tokens_per_chunk = tokens_per_chunk;
  RETURN_IF_ERROR(manifest.Validate());
  return manifest;
}

Manifest ManifestOfLayers(uint32_t layers) {
  Manifest manifest = BenchmarkManifest();
  manifest.layers = layers;
  manifest.heads = 8;
  manifest.head_dim = 64;
  manifest.tokens_per_chunk = 16;
  return manifest;
}

Manifest TinyManifest() {
  Manifest manifest = BenchmarkManifest();
  manifest.element_type = ElementType::kInt8;
  manifest.kind = CacheKind::kLatent;
  manifest.layers = 1;
  manifest.heads = 1;
  manifest.head_dim = 1;
  manifest.tokens_per_chunk = 1;
  return manifest;
}

}  // namespace larder
