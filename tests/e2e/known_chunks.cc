#include "tests/e2e/known_chunks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tools/workload/content.h"

namespace larder {
namespace {

constexpr uint64_t kChainChunksMax = 1 << 16;
constexpr uint8_t kSpoilt = 0xA5;

}  // namespace

Manifest KnownManifest(uint32_t layers) {
  Manifest manifest;
  manifest.model = "known-chunks";
  manifest.layers = layers;
  manifest.heads = 4;
  manifest.head_dim = 16;
  manifest.tokens_per_chunk = 64;
  return manifest;
}

std::vector<Sha256Digest> KnownKeys(uint64_t number, size_t count) {
  std::vector<Sha256Digest> keys;
  for (size_t i = 0; i < count; ++i) {
    keys.push_back(KeyBytes("known-chunks", number * kChainChunksMax + i));
  }
  return keys;
}

KnownBuffers::KnownBuffers(size_t count, const Manifest& manifest)
    : payloads_(count, std::vector<uint8_t>(manifest.PayloadBytes(manifest.WholePart()))) {
  for (std::vector<uint8_t>& payload : payloads_) {
    sources_.push_back({payload.data(), payload.size()});
    destinations_.push_back({payload.data(), payload.size()});
  }
  for (size_t i = 0; i < count; ++i) {
    gather_.emplace_back(&sources_[i], 1);
    scatter_.emplace_back(&destinations_[i], 1);
  }
}

void KnownBuffers::Fill(const std::vector<Sha256Digest>& keys) {
  for (size_t i = 0; i < keys.size(); ++i) FillContent(HashKey(keys[i]), 0, payloads_[i]);
}

void KnownBuffers::Spoil() {
  for (std::vector<uint8_t>& payload : payloads_)
    std::fill(payload.begin(), payload.end(), kSpoilt);
}

size_t KnownBuffers::CountRight(const std::vector<Sha256Digest>& keys, size_t count) const {
  for (size_t i = 0; i < count; ++i) {
    if (CheckContent(HashKey(keys[i]), 0, payloads_[i]) != payloads_[i].size()) return i;
  }
  return count;
}

ChainCheck CheckChain(ClientSpace& space, uint64_t number, size_t count, KnownBuffers& buffers) {
  ChainCheck check;
  const std::vector<Sha256Digest> keys = KnownKeys(number, count);
  for (size_t i = 0; i < count && check.trouble.empty(); ++i) {
    const std::vector<Sha256Digest> key = {keys[i]};
    const std::string name = absl::StrCat("chunk ", i, " of chain ", number);
    const MatchResult match = space.Match(key);
    if (!match.status.ok()) {
      check.trouble = absl::StrCat(name, ": match: ", match.status.ToString());
    } else if (match.chunks == 0) {
      ++check.absent;
    } else {
      buffers.Spoil();
      const FetchResult fetch = space.Fetch(key, buffers.destinations(1));
      if (absl::IsNotFound(fetch.status)) {
        ++check.absent;
      } else if (!fetch.status.ok()) {
        check.trouble = absl::StrCat(name, ": fetch: ", fetch.status.ToString());
      } else if (buffers.CountRight(key, 1) != 1) {
        check.trouble = absl::StrCat(name, " has wrong bytes");
      } else {
        ++check.present;
      }
    }
  }
  return check;
}

}  // namespace larder
