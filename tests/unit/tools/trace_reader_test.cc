#include "tools/workload/trace_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "tests/unit/tools/test_files.h"
#include "tools/workload/line_reader.h"

namespace larder {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Reading {
  std::vector<Request> requests;
  absl::Status status;
};

Reading ReadAll(const std::string& path) {
  Reading reading;
  absl::StatusOr<std::unique_ptr<RequestSource>> source = OpenTrace(path);
  reading.status = source.status();
  while (reading.status.ok()) {
    absl::StatusOr<std::optional<Request>> request = (*source)->Next();
    reading.status = request.status();
    if (!request.ok() || !request->has_value()) break;
    reading.requests.push_back(**request);
  }
  return reading;
}

Reading ReadText(absl::string_view text, Compression compression = Compression::kNone) {
  const TemporaryFile file(Compress(text, compression));
  return ReadAll(file.path());
}

// A good line.
std::string Line(int number) {
  return absl::StrCat("{\"timestamp\": ", number, ", \"input_length\": ", 512 * number + 7,
                      ", \"output_length\": 5, \"hash_ids\": [0, ", number, "]}\n");
}

std::string Lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += Line(i);
  return text;
}

class AllCompressions : public testing::TestWithParam<Compression> {};
INSTANTIATE_TEST_SUITE_P(TraceReader, AllCompressions,
                         testing::Values(Compression::kNone, Compression::kXz, Compression::kZstd));

TEST_P(AllCompressions, GivesEveryRequestInOrder) {
  constexpr int kLines = 5000;  // several read buffers long
  const Reading reading = ReadText(Lines(kLines), GetParam());
  ASSERT_TRUE(reading.status.ok()) << reading.status;
  ASSERT_EQ(reading.requests.size(), kLines);
  for (int i = 0; i < kLines; ++i) {
    const Request& request = reading.requests[static_cast<size_t>(i)];
    ASSERT_EQ(request.timestamp_ms, i);
    ASSERT_EQ(request.input_tokens, 512u * static_cast<uint32_t>(i) + 7);
    ASSERT_EQ(request.output_tokens, 5u);
    ASSERT_THAT(request.block_ids, ElementsAre(0, i));
    ASSERT_EQ(request.session, kNoSession);
  }
}

TEST_P(AllCompressions, NamesFileAndLineOfABadField) {
  const TemporaryFile file(
      Compress(Lines(3) + "\n{\"timestamp\": 1, \"input_length\": -4}\n", GetParam()));
  const Reading reading = ReadAll(file.path());
  EXPECT_EQ(reading.requests.size(), 3u);
  EXPECT_EQ(reading.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(reading.status.message(),
            absl::StrCat(file.path(),
                         ":5: field 'input_length': must be an integer from 0 to 4294967295, "
                         "not -4"));
}

TEST_P(AllCompressions, StreamOfNothingIsAnError) {
  const Reading reading = ReadText(GetParam() == Compression::kNone ? "\n \r\n" : "", GetParam());
  EXPECT_EQ(reading.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(reading.status.message()), EndsWith("the trace holds no request"));
}

TEST_P(AllCompressions, EveryCutIsAnErrorOrACutBetweenLines) {
  const std::string text = Lines(40);
  const std::string whole = Compress(text, GetParam());
  for (size_t size = 1; size < whole.size(); ++size) {
    const TemporaryFile file(absl::string_view(whole).substr(0, size));
    const Reading reading = ReadAll(file.path());
    const bool between_lines =
        GetParam() == Compression::kNone && (whole[size - 1] == '}' || whole[size - 1] == '\n');
    ASSERT_EQ(reading.status.ok(), between_lines) << size << " bytes: " << reading.status;
  }
}

TEST(TraceReader, DamagedStreamsAreRefused) {
  constexpr uint64_t kSeed = 20240901;
  constexpr int kRounds = 300;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  for (const Compression compression : {Compression::kXz, Compression::kZstd}) {
    const std::string whole = Compress(Lines(200), compression);
    for (int round = 0; round < kRounds; ++round) {
      std::string damaged = whole;
      damaged[random.Below(damaged.size())] ^= static_cast<char>(1 + random.Below(255));
      const TemporaryFile file(damaged);
      EXPECT_FALSE(ReadAll(file.path()).status.ok()) << "round " << round;
    }
  }
}

TEST(TraceReader, ReadsConcatenatedStreamsAsOne) {
  for (const Compression compression : {Compression::kXz, Compression::kZstd}) {
    const TemporaryFile file(Compress(Line(1), compression) + Compress(Line(2), compression));
    const Reading reading = ReadAll(file.path());
    EXPECT_TRUE(reading.status.ok()) << reading.status;
    EXPECT_EQ(reading.requests.size(), 2u);
  }
}

TEST(TraceReader, GarbageBehindACompressedStreamIsAnError) {
  for (const Compression compression : {Compression::kXz, Compression::kZstd}) {
    const TemporaryFile file(Compress(Line(1), compression) + "and more");
    EXPECT_EQ(ReadAll(file.path()).status.code(), absl::StatusCode::kDataLoss);
  }
}

TEST(TraceReader, EmptyFileAndMissingFileAreErrorsThatNameIt) {
  const TemporaryFile file("");
  EXPECT_EQ(ReadAll(file.path()).status.message(),
            absl::StrCat(file.path(), ": the file is empty"));
  const absl::Status missing = ReadAll("/no/such/trace.jsonl").status;
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("/no/such/trace.jsonl"));
  EXPECT_THAT(std::string(ReadAll(testing::TempDir()).status.message()), HasSubstr("directory"));
}

TEST(TraceReader, SkipsBlankLinesAndNeedsNoLastNewline) {
  std::string text = "\n" + Line(1) + "  \r\n\n" + Line(2);
  text.pop_back();
  const Reading reading = ReadText(text);
  EXPECT_TRUE(reading.status.ok()) << reading.status;
  EXPECT_EQ(reading.requests.size(), 2u);
}

TEST(TraceReader, SessionMayBeANumberOrAString) {
  const std::string begin =
      "{\"timestamp\": 0.5, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [], "
      "\"session\": ";
  const Reading reading =
      ReadText(begin + "0}\n" + begin + "\"a\"}\n" + begin + "\"b\"}\n" + begin + "\"a\"}\n");
  ASSERT_TRUE(reading.status.ok()) << reading.status;
  ASSERT_EQ(reading.requests.size(), 4u);
  EXPECT_EQ(reading.requests[0].timestamp_ms, 0.5);
  EXPECT_EQ(reading.requests[0].session, 0u);
  EXPECT_THAT(reading.requests[0].block_ids, IsEmpty());
  EXPECT_EQ(reading.requests[1].session, reading.requests[3].session);
  EXPECT_NE(reading.requests[1].session, reading.requests[2].session);
}

TEST(TraceReader, SkipsOtherFieldsWhateverTheyHold) {
  std::string line = Line(3);
  line.insert(1,
              "\"x\": {\"timestamp\": [null, -1, {\"hash_ids\": \"no\"}], \"session\": 1.5}, "
              "\"y\": [[1, 2.5, \"z\"], true], \"z\": null, ");
  const Reading reading = ReadText(line);
  ASSERT_TRUE(reading.status.ok()) << reading.status;
  ASSERT_EQ(reading.requests.size(), 1u);
  EXPECT_THAT(reading.requests[0].block_ids, ElementsAre(0, 3));
  EXPECT_EQ(reading.requests[0].session, kNoSession);
}

TEST(TraceReader, LineAtTheLimitIsReadAndOneLongerIsNot) {
  std::string line = Line(1);
  line.pop_back();
  const std::string longest = line + std::string(kLineBytesMax - line.size(), ' ');
  Reading reading = ReadText(longest + "\n" + Line(2));
  EXPECT_TRUE(reading.status.ok()) << reading.status;
  EXPECT_EQ(reading.requests.size(), 2u);
  reading = ReadText(Line(2) + longest + " \n", Compression::kZstd);
  EXPECT_EQ(reading.requests.size(), 1u);
  EXPECT_THAT(std::string(reading.status.message()),
              EndsWith(":2: the line is longer than 16 MiB"));
}

TEST(TraceReader, SaysTheSameAgainAfterTheEndAndAfterAnError) {
  const TemporaryFile file(Line(1) + "{}\n" + Line(2));
  auto source = OpenTrace(file.path());
  ASSERT_TRUE(source.ok());
  ASSERT_TRUE((*source)->Next().ok());
  const absl::Status failure = (*source)->Next().status();
  EXPECT_FALSE(failure.ok());
  EXPECT_EQ((*source)->Next().status(), failure);

  const TemporaryFile good(Line(1));
  source = OpenTrace(good.path());
  ASSERT_TRUE(source.ok());
  EXPECT_EQ((*source)->total_hint(), std::nullopt);
  ASSERT_TRUE((*source)->Next()->has_value());
  EXPECT_FALSE((*source)->Next()->has_value());
  EXPECT_FALSE((*source)->Next()->has_value());
}

struct BadLine {
  const char* line;
  const char* error;  // what the message ends with
};

class BadLines : public testing::TestWithParam<BadLine> {};

TEST_P(BadLines, AreRefusedWithTheField) {
  const Reading reading = ReadText(GetParam().line);
  EXPECT_THAT(reading.requests, IsEmpty());
  EXPECT_EQ(reading.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(reading.status.message()),
              EndsWith(absl::StrCat(":1: ", GetParam().error)));
}

#define REST "\"input_length\": 1, \"output_length\": 1, \"hash_ids\": [1]}"
#define IDS_MUST "must be an integer from 0 to 18446744073709551615, not "
INSTANTIATE_TEST_SUITE_P(
    TraceReader, BadLines,
    testing::Values(
        BadLine{"{}", "field 'timestamp' is missing"},
        BadLine{"{\"timestamp\": 1, \"input_length\": 1, \"hash_ids\": []}",
                "field 'output_length' is missing"},
        BadLine{"{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1}",
                "field 'hash_ids' is missing"},
        BadLine{"{\"timestamp\": 1, \"timestamp\": 1, " REST, "field 'timestamp' appears twice"},
        BadLine{"{\"timestamp\": -1, " REST,
                "field 'timestamp': must be a number of milliseconds from 0 to 2^53, not -1"},
        BadLine{"{\"timestamp\": -0.5, " REST,
                "field 'timestamp': must be a number of milliseconds from 0 to 2^53, not -0.5"},
        BadLine{"{\"timestamp\": \"now\", " REST,
                "field 'timestamp': must be a number of milliseconds from 0 to 2^53, not a string"},
        BadLine{"{\"timestamp\": 1e300, " REST,
                "field 'timestamp': must be a number of milliseconds from 0 to 2^53, not 1e300"},
        BadLine{"{\"timestamp\": 1e999, " REST, "number too large at column 19"},
        BadLine{"{\"input_length\": 4294967296}",
                "field 'input_length': must be an integer from 0 to 4294967295, not 4294967296"},
        BadLine{"{\"output_length\": 1.5}",
                "field 'output_length': must be an integer from 0 to 4294967295, not 1.5"},
        BadLine{"{\"output_length\": null}",
                "field 'output_length': must be an integer from 0 to 4294967295, not null"},
        BadLine{"{\"output_length\": {\"a\": 1}}",
                "field 'output_length': must be an integer from 0 to 4294967295, not an object"},
        BadLine{"{\"hash_ids\": 7}",
                "field 'hash_ids': must be an array of integers from 0 to 18446744073709551615, "
                "not a number"},
        BadLine{"{\"hash_ids\": [4, -1]}", "field 'hash_ids[1]': " IDS_MUST "-1"},
        BadLine{"{\"hash_ids\": [4, 5, [6]]}", "field 'hash_ids[2]': " IDS_MUST "an array"},
        BadLine{"{\"hash_ids\": [\"a\"]}", "field 'hash_ids[0]': " IDS_MUST "a string"},
        BadLine{"{\"hash_ids\": [true]}", "field 'hash_ids[0]': " IDS_MUST "a boolean"},
        BadLine{"{\"hash_ids\": [18446744073709551616]}",
                "field 'hash_ids[0]': " IDS_MUST "18446744073709551616"},
        BadLine{"{\"session\": -3}",
                "field 'session': must be an integer from 0 to 18446744073709551614 or a string, "
                "not -3"},
        BadLine{"{\"session\": 18446744073709551615}",
                "field 'session': must be an integer from 0 to 18446744073709551614 or a string, "
                "not 18446744073709551615"},
        BadLine{"[1, 2]", "must be a JSON object, not an array"},
        BadLine{"17", "must be a JSON object, not a number"},
        BadLine{"\"text\"", "must be a JSON object, not a string"},
        BadLine{"nonsense", "not valid JSON at column 2"},
        BadLine{"{\"timestamp\": 1", "not valid JSON at column 16"},
        BadLine{"{\"timestamp\": 1, " REST " {", "not valid JSON at column 74"}));
#undef IDS_MUST
#undef REST

TEST(TraceReader, DeepNestingIsNoStackOverflow) {
  const std::string deep(4 << 20, '[');
  const Reading reading = ReadText(absl::StrCat("{\"x\": ", deep));
  EXPECT_THAT(std::string(reading.status.message()), HasSubstr("not valid JSON"));
}

}  // namespace
}  // namespace larder
