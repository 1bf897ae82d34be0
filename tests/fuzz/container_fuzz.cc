// Fuzz target of the container and manifest parsers. Besides memory safety it checks what makes the
// format safe to trust: what parses lies in bounds, and what also verifies is, byte for byte, what
// the writer would have made of the same chunk.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include "common/byte_order.h"
#include "common/crc32c.h"
#include "kernels/format/container.h"
#include "kernels/format/manifest.h"
#include "tests/golden/container_goldens.h"
#include "tests/unit/kernels/container_testing.h"

namespace larder {
namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

void CheckManifestParser(std::span<const uint8_t> bytes) {
  const absl::StatusOr<Manifest> manifest = Manifest::Parse(bytes);
  if (!manifest.ok()) return;
  const std::vector<uint8_t> again = manifest->Serialize();
  Require(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()),
          "a manifest has one serialisation");
}

// REQUIRES: the container is of `manifest`.
void CheckPayload(const ContainerView& view, const Manifest& manifest, bool bodies_ok) {
  // What codecs make of hostile runs is for codec_fuzz and larder_fuzz.
  if (view.codec() != ContainerCodec::kRaw) return;
  const Part& part = view.identity().part;
  std::vector<uint8_t> payload(manifest.PayloadBytes(part));
  const Segment destination = {payload.data(), payload.size()};
  const bool read_ok = ReadRawContainer(view, manifest, part, {&destination, 1}).ok();
  Require(read_ok || !bodies_ok, "what verifies can be read");
  if (!bodies_ok) return;

  std::vector<uint8_t> written(view.bytes().size());
  const ConstSegment source = {payload.data(), payload.size()};
  Require(WriteRawContainer(written, manifest, view.identity(), {&source, 1}).ok(),
          "what was read can be written");
  Require(std::equal(written.begin(), written.end(), view.bytes().begin(), view.bytes().end()),
          "a chunk has one container");

  const Part last = {static_cast<uint16_t>(part.layer_end - 1), part.layer_end,
                     static_cast<uint16_t>(part.head_end - 1), part.head_end};
  payload.resize(manifest.PayloadBytes(last));
  const Segment slice = {payload.data(), payload.size()};
  Require(ReadRawContainer(view, manifest, last, {&slice, 1}).ok(), "a slice can be read");
}

void CheckContainerParser(std::span<const uint8_t> bytes, const std::vector<ValidGolden>& goldens) {
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(bytes);
  if (!view.ok()) {
    Require(absl::IsDataLoss(view.status()), "a malformed container is DATA_LOSS");
    return;
  }
  const bool bodies_ok = view->VerifyBodies().ok();
  for (const ValidGolden& golden : goldens) {
    if (view->CheckManifest(golden.manifest).ok()) CheckPayload(*view, golden.manifest, bodies_ok);
  }
}

// Makes the checksums of the planes right, as far as the table of contents can be followed.
void RepairPlaneChecksums(std::span<uint8_t> container) {
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(container);
  if (!view.ok()) return;
  for (size_t i = 0; i < view->entries().size(); ++i) {
    const ContainerTocEntry& entry = view->entries()[i];
    const uint32_t crc = Crc32c(container.subspan(entry.offset, entry.stored_bytes));
    StoreLittleEndian(&container[sizeof(ContainerHeader) + i * sizeof entry +
                                 offsetof(ContainerTocEntry, crc32c)],
                      crc);
  }
  RepairChecksums(container);
}

}  // namespace
}  // namespace larder

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<larder::ValidGolden> goldens = larder::ValidGoldens();
  std::vector<uint8_t> bytes(data, data + size);
  larder::CheckManifestParser(bytes);
  // No random change survives a checksum, so each input is also tried with right ones.
  larder::CheckContainerParser(bytes, goldens);
  larder::RepairChecksums(bytes);
  larder::CheckContainerParser(bytes, goldens);
  larder::RepairPlaneChecksums(bytes);
  larder::CheckContainerParser(bytes, goldens);
  return 0;
}
