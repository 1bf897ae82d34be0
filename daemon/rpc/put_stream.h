// One Put: chunks that arrive piece by piece, each stored when its last byte is there.
#pragma once

#include <grpcpp/server_context.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/functional/function_ref.h"
#include "common/status.h"
#include "daemon/rpc/core_access.h"
#include "daemon/rpc/payload.h"
#include "kernels/format/coded_container.h"
#include "proto/larder/v1/store.pb.h"

namespace larder {

// Space in the arena is reserved only once a whole payload has arrived and is encoded, so that a
// slow or silent sender holds up nobody. Belongs to one RPC's thread; what it is given outlives it.
class PutStream {
 public:
  PutStream(const grpc::ServerContext& context, CoreAccess* access, const ContainerCodecs& codecs,
            PayloadBudget* budget, v1::PutResponse* response)
      : context_(context), access_(access), codecs_(codecs), budget_(budget), response_(response) {}

  absl::Status Receive(v1::PutRequest request);
  // The sender has said that this was all.
  absl::Status Finish() const;

 private:
  // The chunk whose payload is arriving.
  struct Incoming {
    explicit Incoming(PayloadBudget* budget) : payload(budget) {}
    ChunkIdentity identity;
    ReserveOptions options;
    ContainerCodec codec = ContainerCodec::kRaw;
    uint32_t levels = 0;
    uint32_t copies = 0;
    std::string copy_to;
    uint64_t expected_bytes = 0;
    uint64_t received_bytes = 0;
    bool exists = false;  // stored already: its payload is dropped as it comes
    Payload payload;
  };

  absl::Status Begin(const v1::PutHeader& header);
  absl::Status Add(std::string piece);
  absl::Status ResolveSpace(const v1::PutHeader& header);
  absl::Status LookForPart();
  absl::Status ChooseForm(const v1::PutHeader& header);
  absl::Status ChooseCopies(const v1::PutHeader& header);
  absl::Status Store();
  absl::Status StoreCoded();
  // Of a chunk that is stored.
  absl::Status Copy();
  // Reserves `bytes`, has `write` fill them and commits them, or says why there is no room.
  absl::Status StoreContainer(uint64_t bytes,
                              absl::FunctionRef<absl::Status(std::span<uint8_t>)> write);
  absl::Status Reserve(uint64_t bytes, ScopedReservation* reservation,
                       std::span<uint8_t>* destination, ReserveOutcome::Kind* outcome);

  const grpc::ServerContext& context_;
  CoreAccess* const access_;
  const ContainerCodecs& codecs_;
  PayloadBudget* const budget_;
  v1::PutResponse* const response_;
  std::optional<SpaceInfo> space_;  // of the last header
  std::optional<Incoming> incoming_;
};

}  // namespace larder
