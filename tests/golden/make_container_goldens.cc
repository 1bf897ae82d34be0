// Writes the golden containers into a directory. A golden is never made anew: readers of every
// later version must read the very bytes that were shipped, so a file that exists is left alone.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "kernels/format/coded_container.h"
#include "tests/golden/container_goldens.h"

namespace larder {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

absl::Status WriteNew(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  if (std::filesystem::exists(path)) {
    std::printf("kept %s\n", path.c_str());
    return absl::OkStatus();
  }
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "wbx"));
  if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size() ||
      std::fflush(file.get()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("write ", path.string()));
  }
  std::printf("wrote %s\n", path.c_str());
  return absl::OkStatus();
}

absl::Status WriteLevels(const std::filesystem::path& directory) {
  const ValidGolden golden = LevelsGolden();
  const ConstSegment payload = {golden.payload.data(), golden.payload.size()};
  ASSIGN_OR_RETURN(const std::vector<uint8_t> container,
                   EncodeContainer(ContainerCodecs(), ContainerCodec::kLarder, /*levels=*/0,
                                   golden.manifest, golden.identity, {&payload, 1}));
  ASSIGN_OR_RETURN(const ContainerView view, ContainerView::Parse(container));
  const std::span<const uint8_t> bytes(container);
  RETURN_IF_ERROR(WriteNew(directory / kLevelsGolden, bytes));
  RETURN_IF_ERROR(WriteNew(directory / kCutGolden, bytes.first(view.LevelEnd(1))));
  return WriteNew(directory / kMiscutGolden, bytes.first(view.LevelEnd(1) - kPlaneAlignment));
}

absl::Status WriteGoldens(const std::filesystem::path& directory) {
  std::vector<uint8_t> base;
  for (const ValidGolden& golden : ValidGoldens()) {
    std::vector<uint8_t> container(RawContainerBytes(golden.manifest, golden.identity.part));
    const ConstSegment payload = {golden.payload.data(), golden.payload.size()};
    RETURN_IF_ERROR(WriteRawContainer(container, golden.manifest, golden.identity, {&payload, 1}));
    RETURN_IF_ERROR(WriteNew(directory / golden.file_name, container));
    if (base.empty()) base = container;
  }
  for (const CorruptGolden& golden : CorruptGoldens()) {
    std::vector<uint8_t> container = base;
    golden.change(container);
    RETURN_IF_ERROR(WriteNew(directory / golden.file_name, container));
  }
  RETURN_IF_ERROR(WriteLevels(directory));
  Manifest manifest = ValidGoldens().front().manifest;
  RETURN_IF_ERROR(WriteNew(directory / kManifestGolden, manifest.Serialize()));
  manifest.codec = ContainerCodec::kLarder;
  manifest.levels = 2;
  return WriteNew(directory / kCodedManifestGolden, manifest.Serialize());
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 2;
  }
  const absl::Status status = larder::WriteGoldens(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
