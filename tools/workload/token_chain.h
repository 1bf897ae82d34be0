// A prompt without its tokens: only where they come from, and the ids of the blocks they fill.
#pragma once

#include <cstdint>
#include <vector>

#include "common/random.h"

namespace larder {

// Names an endless sequence of tokens, such as a document or one message; equal names mean equal
// tokens. New names are drawn at random from 64 bits.
struct TextId {
  uint64_t value = 0;
};
inline TextId NewText(Random& random) { return {random.Next()}; }

// The first `tokens` tokens of `text`.
struct TextPiece {
  TextId text;
  uint32_t tokens;
};

// Grows by pieces of text and gives each full block an id that hashes the id of the block before it
// and the pieces inside it. So equal ids mean equal prefixes, up to collisions of 64 bits; the
// tokens after the last full block have no id. A copy is a branch. Not thread-safe.
class TokenChain {
 public:
  // REQUIRES: tokens_per_block > 0.
  explicit TokenChain(uint32_t tokens_per_block) : tokens_per_block_(tokens_per_block) {}

  // Appends the first `tokens` tokens of `text`.
  void Append(TextId text, uint32_t tokens);

  uint64_t tokens() const { return block_ids_.size() * tokens_per_block_ + filled_tokens_; }
  const std::vector<uint64_t>& block_ids() const { return block_ids_; }

 private:
  uint32_t tokens_per_block_;
  uint32_t filled_tokens_ = 0;  // in the block that is not full yet
  // Hash over that block so far: its predecessor's id and its pieces.
  uint64_t block_hash_ = 0;
  std::vector<uint64_t> block_ids_;
};

}  // namespace larder
