#include "tests/powercut/checker.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/file_descriptor.h"
#include "tests/powercut/device.h"

namespace larder {
namespace {

// What the writer said of its records.
class Journal {
 public:
  using Name = std::pair<uint64_t, uint64_t>;  // key and version

  absl::Status Read(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    uint64_t number = 0;
    // The power cut may have cut the last line: without its end it says nothing.
    while (std::getline(file, line) && !file.eof()) {
      ++number;
      if (!Take(line)) {
        return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": not a line: ", line));
      }
    }
    if (!seeded_) return absl::InvalidArgumentError(absl::StrCat(path, ": names no seed"));
    return absl::OkStatus();
  }

  uint64_t seed() const { return seed_; }
  bool WasWritten(Name name, uint32_t segment) const {
    const auto found = written_.find(name);
    return found != written_.end() && found->second == segment;
  }
  std::vector<Name> Durable() const {
    std::vector<Name> names;
    for (const auto& [key, newest] : newest_) {
      if (newest.durable) names.emplace_back(key, newest.version);
    }
    return names;
  }

 private:
  struct Newest {
    uint64_t version = 0, segment = 0;
    bool durable = false;
  };

  bool Take(const std::string& line) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    std::vector<uint64_t> numbers(words.size() - 1);
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (!absl::SimpleAtoi(words[i + 1], &numbers[i])) return false;
    }
    if (words[0] == "seed" && numbers.size() == 1) {
      seed_ = numbers[0];
      seeded_ = true;
    } else if (words[0] == "open" && numbers.size() == 1) {
      std::erase_if(newest_, [&](const auto& item) { return item.second.segment == numbers[0]; });
    } else if (words[0] == "write" && numbers.size() == 3) {
      written_[{numbers[0], numbers[1]}] = numbers[2];
      newest_[numbers[0]] = {numbers[1], numbers[2], false};
    } else if (words[0] == "forget" && numbers.size() == 1) {
      newest_.erase(numbers[0]);
    } else if (words[0] == "durable" && numbers.size() == 2) {
      const auto found = newest_.find(numbers[0]);
      if (found != newest_.end() && found->second.version == numbers[1]) {
        found->second.durable = true;
      }
    } else {
      return false;
    }
    return true;
  }

  uint64_t seed_ = 0;
  bool seeded_ = false;
  std::map<Name, uint64_t> written_;   // to their segments
  std::map<uint64_t, Newest> newest_;  // by key; none after it was forgotten or its segment opened
};

class Checker {
 public:
  Checker(PowercutDevice& device, const Journal& journal) : device_(device), journal_(journal) {}

  absl::StatusOr<CheckCounts> Run() {
    for (const DiskRecord& record : device_.device().TakeContents().records) {
      RETURN_IF_ERROR(CheckRecord(record));
    }
    for (const Journal::Name& name : journal_.Durable()) {
      ++counts_.durable;
      if (right_.contains(name)) continue;
      ++counts_.missing;
      std::printf("missing: key %lu version %lu\n", name.first, name.second);
    }
    return counts_;
  }

 private:
  absl::Status CheckRecord(const DiskRecord& record) {
    ++counts_.records;
    const Journal::Name name = {record.key.low, record.sequence};
    if (!journal_.WasWritten(name, record.segment)) {
      Complain(record, "was never written there");
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const MemoryMapping memory,
                     MemoryMapping::MapAnonymous(RoundUpToDiskBlocks(record.payload_bytes)));
    DiskCommand command;
    command.kind = DiskCommand::Kind::kRead;
    command.record = record;
    command.memory = memory.bytes();
    ASSIGN_OR_RETURN(const std::vector<DiskResult> results, device_.Run({command}));
    if (results[0].code == absl::StatusCode::kDataLoss) {
      ++counts_.lost;
    } else if (results[0].code != absl::StatusCode::kOk) {
      Complain(record, results[0].why);
    } else if (!IsRight(record, memory.bytes().first(record.payload_bytes))) {
      Complain(record, "has wrong bytes");
    } else {
      ++counts_.right;
      right_.insert(name);
    }
    return absl::OkStatus();
  }

  bool IsRight(const DiskRecord& record, std::span<const uint8_t> payload) const {
    const uint64_t seed = journal_.seed();
    if (payload.size() != PowercutPayloadBytes(seed, record.key.low, record.sequence)) return false;
    std::vector<uint8_t> expected(payload.size());
    FillPowercutPayload(seed, record.key.low, record.sequence, expected);
    return std::equal(payload.begin(), payload.end(), expected.begin());
  }

  void Complain(const DiskRecord& record, absl::string_view what) {
    ++counts_.wrong;
    std::printf("wrong: key %lu version %lu in segment %u: %s\n", record.key.low, record.sequence,
                record.segment, std::string(what).c_str());
  }

  PowercutDevice& device_;
  const Journal& journal_;
  CheckCounts counts_;
  std::set<Journal::Name> right_;
};

}  // namespace

absl::StatusOr<CheckCounts> CheckDevice(const std::string& directory, const std::string& journal) {
  Journal said;
  RETURN_IF_ERROR(said.Read(journal));
  if (said.Durable().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(journal, ": no record is durable"));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<PowercutDevice> device,
                   PowercutDevice::Open(directory, kPowercutSyncInterval));
  return Checker(*device, said).Run();
}

}  // namespace larder
