#include "tools/workload/token_chain.h"

#include <algorithm>
#include <array>

#include "common/byte_order.h"
#include "common/hash.h"

namespace larder {
namespace {

// The hash of `hash` followed by tokens [begin, begin + count) of `text`.
uint64_t AppendPiece(uint64_t hash, TextId text, uint32_t begin, uint32_t count) {
  std::array<uint8_t, 24> encoded;
  StoreLittleEndian(encoded.data(), hash);
  StoreLittleEndian(encoded.data() + 8, text.value);
  StoreLittleEndian(encoded.data() + 16, begin);
  StoreLittleEndian(encoded.data() + 20, count);
  return HashBytes(encoded).low;
}

}  // namespace

void TokenChain::Append(TextId text, uint32_t tokens) {
  uint32_t done = 0;
  while (done < tokens) {
    const uint32_t piece = std::min(tokens - done, tokens_per_block_ - filled_tokens_);
    block_hash_ = AppendPiece(block_hash_, text, done, piece);
    filled_tokens_ += piece;
    done += piece;
    if (filled_tokens_ < tokens_per_block_) return;
    block_ids_.push_back(block_hash_);
    filled_tokens_ = 0;
  }
}

}  // namespace larder
