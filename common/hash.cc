#include "common/hash.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include <cassert>
#include <memory>

#include "common/byte_order.h"

namespace larder {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using DigestContext = std::unique_ptr<EVP_MD_CTX, FreeContext>;

Sha256Digest Sha256Of(EVP_MD_CTX* context, std::span<const uint8_t> first,
                      std::span<const uint8_t> second) {
  Sha256Digest digest;
  EVP_DigestInit_ex(context, EVP_sha256(), nullptr);
  EVP_DigestUpdate(context, first.data(), first.size());
  EVP_DigestUpdate(context, second.data(), second.size());
  EVP_DigestFinal_ex(context, digest.data(), nullptr);
  return digest;
}

}  // namespace

Hash128 HashBytes(std::span<const uint8_t> bytes, uint64_t seed) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {hash.low64, hash.high64};
}

KeyHash HashKey(std::span<const uint8_t> key) {
  const Hash128 hash = HashBytes(key);
  if (hash.low == 0 && hash.high == 0) return {1, 0};
  return {hash.low, hash.high};
}

Sha256Digest Sha256(std::span<const uint8_t> bytes) {
  DigestContext context(EVP_MD_CTX_new());
  return Sha256Of(context.get(), bytes, {});
}

std::vector<Sha256Digest> HashTokenChunks(std::span<const uint32_t> tokens,
                                          size_t tokens_per_chunk) {
  assert(tokens_per_chunk > 0);
  DigestContext context(EVP_MD_CTX_new());
  std::vector<Sha256Digest> keys;
  keys.reserve(tokens.size() / tokens_per_chunk);
  std::vector<uint8_t> encoded(tokens_per_chunk * 4);
  for (size_t first = 0; first + tokens_per_chunk <= tokens.size(); first += tokens_per_chunk) {
    for (size_t i = 0; i < tokens_per_chunk; ++i) {
      StoreLittleEndian(encoded.data() + 4 * i, tokens[first + i]);
    }
    const std::span<const uint8_t> parent =
        keys.empty() ? std::span<const uint8_t>() : std::span<const uint8_t>(keys.back());
    keys.push_back(Sha256Of(context.get(), parent, encoded));
  }
  return keys;
}

}  // namespace larder
