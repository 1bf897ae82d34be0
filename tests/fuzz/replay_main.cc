// Stands in for libFuzzer: runs a fuzz target on every file of a corpus and on mutations of them
// that are the same on every machine and in every run. Given a file, runs just that one.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "common/byte_order.h"
#include "common/random.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace larder {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kSeed = 1;
constexpr int kMutationRounds = 20000;
constexpr size_t kInputBytesMax = 4096;

Bytes ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Sorted by name: directory order differs between machines.
std::vector<Bytes> ReadCorpus(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> corpus;
  for (const std::filesystem::path& path : paths) corpus.push_back(ReadFile(path));
  return corpus;
}

// A value that parsers get wrong: around zero and around the limits of 8 to 64 bits.
uint64_t InterestingValue(Random& random) {
  const uint64_t power = uint64_t{1} << random.Below(64);
  return power + random.Below(3) - 1;
}

void MutateOnce(Random& random, Bytes& bytes) {
  const uint64_t kind = random.Below(6);
  if (bytes.size() < sizeof(uint64_t) || kind == 0) {
    bytes.resize(random.Below(kInputBytesMax), static_cast<uint8_t>(random.Next()));
    return;
  }
  const size_t at = random.Below(bytes.size() - sizeof(uint64_t) + 1);
  if (kind == 1) bytes[at] ^= static_cast<uint8_t>(1u << random.Below(8));
  if (kind == 2) bytes[at] = static_cast<uint8_t>(random.Next());
  if (kind == 3) StoreLittleEndian(&bytes[at], static_cast<uint32_t>(InterestingValue(random)));
  if (kind == 4) StoreLittleEndian(&bytes[at], InterestingValue(random));
  if (kind == 5) bytes.erase(bytes.begin() + at, bytes.begin() + at + random.Below(8));
}

void Run(const Bytes& bytes) { LLVMFuzzerTestOneInput(bytes.data(), bytes.size()); }

int ReplayCorpus(const std::filesystem::path& directory) {
  const std::vector<Bytes> corpus = ReadCorpus(directory);
  if (corpus.empty()) {
    std::fprintf(stderr, "%s holds no file\n", directory.c_str());
    return 1;
  }
  for (const Bytes& bytes : corpus) Run(bytes);
  std::printf("%zu files passed; %d mutations with seed %llu\n", corpus.size(), kMutationRounds,
              static_cast<unsigned long long>(kSeed));
  SeededRandom random(kSeed);
  for (int round = 0; round < kMutationRounds; ++round) {
    Bytes bytes = corpus[random.Below(corpus.size())];
    for (uint64_t left = 1 + random.Below(4); left > 0; --left) MutateOnce(random, bytes);
    Run(bytes);
  }
  std::printf("all passed\n");
  return 0;
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_DIRECTORY|INPUT_FILE\n", argv[0]);
    return 2;
  }
  if (std::filesystem::is_directory(argv[1])) return larder::ReplayCorpus(argv[1]);
  larder::Run(larder::ReadFile(argv[1]));
  return 0;
}
