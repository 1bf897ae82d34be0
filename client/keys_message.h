// Requests that carry a list of keys.
#pragma once

#include <bit>
#include <span>

#include "client/keys.h"
#include "common/status.h"
#include "transport/local/message_codec.h"
#include "transport/local/message_format.h"

namespace larder {

// INVALID_ARGUMENT unless keys have 1 to 64 bytes.
absl::Status CheckKeys(const KeySpan& keys);

// Fills `writer` with a KeysRequest and the hashes of `keys`, at most kMessageKeysMax.
void WriteKeysRequest(const KeySpan& keys, KeysRequest request, MessageWriter* writer);

}  // namespace larder
