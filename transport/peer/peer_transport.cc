#include "transport/peer/peer_transport.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace larder {
namespace {

absl::Status CheckPositive(absl::Duration duration, absl::string_view what) {
  if (duration > absl::ZeroDuration() && duration <= absl::Hours(24)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, " is ", absl::FormatDuration(duration),
                                                 ", possible is more than 0 up to 24h"));
}

absl::Status CheckRange(uint64_t value, uint64_t low, uint64_t high, absl::string_view what) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " is ", value, ", possible are ", low, " to ", high));
}

}  // namespace

bool IsNodeName(absl::string_view name) {
  return !name.empty() && name.size() <= kNodeNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
         });
}

absl::Status CheckPeerOptions(const PeerTransportOptions& options) {
  for (const auto& [name, what] : {std::pair(options.self.node, "node name"),
                                   std::pair(options.self.cluster, "cluster name")}) {
    if (IsNodeName(name)) continue;
    return absl::InvalidArgumentError(absl::StrCat(what, " \"", absl::CHexEscape(name),
                                                   "\" is not 1 to ", kNodeNameBytesMax,
                                                   " of A-Z a-z 0-9 . _ -"));
  }
  RETURN_IF_ERROR(
      CheckRange(options.connections_per_peer, 1, kConnectionsPerPeerMax, "connections_per_peer"));
  RETURN_IF_ERROR(
      CheckRange(options.message_bytes_max, 1, kPeerMessageBytesMax, "message_bytes_max"));
  RETURN_IF_ERROR(CheckRange(options.queued_messages_max, 1, 1 << 20, "queued_messages_max"));
  RETURN_IF_ERROR(CheckRange(options.queued_bytes_max, options.message_bytes_max, uint64_t{1} << 40,
                             "queued_bytes_max"));
  RETURN_IF_ERROR(CheckRange(options.unauthenticated_max, 1, 4096, "unauthenticated_max"));
  RETURN_IF_ERROR(CheckPositive(options.handshake_timeout, "handshake_timeout"));
  RETURN_IF_ERROR(CheckPositive(options.keepalive_interval, "keepalive_interval"));
  RETURN_IF_ERROR(CheckPositive(options.peer_timeout, "peer_timeout"));
  RETURN_IF_ERROR(CheckPositive(options.reconnect_delay_min, "reconnect_delay_min"));
  RETURN_IF_ERROR(CheckPositive(options.reconnect_delay_max, "reconnect_delay_max"));
  if (options.peer_timeout <= options.keepalive_interval) {
    return absl::InvalidArgumentError("peer_timeout must be longer than keepalive_interval");
  }
  return absl::OkStatus();
}

absl::string_view PeerRefusalName(PeerRefusal reason) {
  switch (reason) {
    case PeerRefusal::kMalformed:
      return "malformed";
    case PeerRefusal::kVersion:
      return "version";
    case PeerRefusal::kCluster:
      return "cluster";
    case PeerRefusal::kSecret:
      return "secret";
    case PeerRefusal::kOwnName:
      return "own_name";
    case PeerRefusal::kWrongNode:
      return "wrong_node";
    case PeerRefusal::kUnknownNode:
      return "unknown_node";
    case PeerRefusal::kDuplicate:
      return "duplicate";
    case PeerRefusal::kTimeout:
      return "timeout";
    case PeerRefusal::kTooMany:
      return "too_many";
  }
  return "unknown";
}

}  // namespace larder
