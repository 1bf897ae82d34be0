// Base of the caches that decide block by block.
#pragma once

#include "tools/sim/cache_model.h"

namespace larder {

// Uses the blocks of a request one by one, the deepest first.
class BlockCache : public CacheModel {
 public:
  explicit BlockCache(const CacheModelOptions& options)
      : trace_(*options.trace), capacity_(options.capacity_blocks) {}

  void Serve(const TraceRequest& request) final {
    const auto blocks = trace_.blocks_of(request);
    for (size_t i = blocks.size(); i > 0; --i) Use(blocks[i - 1]);
  }

 protected:
  // The block is used: it is stored if it is not, and others may have to go.
  virtual void Use(uint32_t block) = 0;

  size_t blocks() const { return trace_.unique_blocks(); }

  const BlockTrace& trace_;
  const size_t capacity_;
};

}  // namespace larder
