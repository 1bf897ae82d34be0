// Uses the installed client library: with no daemon behind the socket every lookup is a miss that
// says so, at once.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "client/client.h"

namespace {

larder::Manifest SmallManifest() {
  larder::Manifest manifest;
  manifest.model = "example/small";
  manifest.layers = 2;
  manifest.heads = 2;
  manifest.head_dim = 16;
  manifest.tokens_per_chunk = 16;
  return manifest;
}

absl::Status LookUpWithoutDaemon(const std::string& socket_path) {
  larder::ClientOptions options;
  options.socket_path = socket_path;
  absl::StatusOr<std::unique_ptr<larder::Client>> client = larder::Client::Connect(options);
  if (!client.ok()) return client.status();
  if ((*client)->connected()) return absl::InternalError("connected to a daemon that is not there");

  const larder::Manifest manifest = SmallManifest();
  absl::StatusOr<larder::ClientSpace> space = (*client)->Open(manifest);
  if (!space.ok()) return space.status();

  const std::vector<uint32_t> tokens(size_t{2} * manifest.tokens_per_chunk, 7);
  const std::vector<larder::Sha256Digest> keys =
      larder::HashTokenChunks(tokens, manifest.tokens_per_chunk);
  const larder::MatchResult match = space->Match(keys);
  if (match.chunks != 0) return absl::InternalError("a chunk was found without a daemon");
  if (!absl::IsUnavailable(match.status)) {
    return absl::InternalError("expected UNAVAILABLE, got: " + match.status.ToString());
  }
  return absl::OkStatus();
}

}  // namespace

int main() {
  const absl::Status status = LookUpWithoutDaemon("no-daemon-here.sock");
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
