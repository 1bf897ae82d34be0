// What larderctl prints, from messages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tools/ctl/enum_names.h"
#include "tools/ctl/proto_json.h"
#include "tools/ctl/render.h"
#include "tools/ctl/top.h"

namespace larder {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::SpaceStatus SpaceWith(const std::string& id, uint64_t lookups, uint64_t hit_tokens,
                          uint64_t miss_tokens, uint64_t stored_bytes, uint64_t fetched_bytes) {
  v1::SpaceStatus space;
  space.set_space_id(id);
  space.mutable_description()->set_tenant("tenant-of-" + id);
  space.mutable_description()->mutable_manifest()->set_model("model\x1b[31m");
  space.set_lookups(lookups);
  space.set_hit_tokens(hit_tokens);
  space.set_miss_tokens(miss_tokens);
  space.set_stored_bytes(stored_bytes);
  space.set_fetched_bytes(fetched_bytes);
  return space;
}

TopSample SampleAt(absl::Duration time, std::vector<v1::SpaceStatus> spaces, uint64_t evicted) {
  TopSample sample;
  sample.time = MonotonicTime{} + time;
  sample.spaces = std::move(spaces);
  sample.status.set_epoch(1);
  v1::RemovalCount* count = sample.status.add_removed();
  count->set_cause(v1::REMOVAL_CAUSE_CAPACITY);
  count->set_chunks(evicted);
  return sample;
}

TEST(CtlRender, UsageBar) {
  EXPECT_EQ(UsageBar(0, 0), "[........................]   0%");
  EXPECT_EQ(UsageBar(1, 2), "[############............]  50%");
  EXPECT_EQ(UsageBar(9, 2), "[########################] 100%");
  EXPECT_EQ(UsageBar(UINT64_MAX, UINT64_MAX), "[########################] 100%");
}

TEST(CtlRender, FormatRatio) {
  EXPECT_EQ(FormatRatio(0, 0), "-");
  EXPECT_EQ(FormatRatio(7, 1), "87.5%");
  EXPECT_EQ(FormatRatio(UINT64_MAX, UINT64_MAX), "50.0%");
}

TEST(CtlRender, Status) {
  v1::StatusResponse status;
  status.set_version("9.9");
  status.set_uptime_ms(UINT64_MAX);
  status.set_draining(true);
  status.mutable_arena()->set_directory("/dev/shm/x\n");
  status.mutable_arena()->set_capacity_bytes(1 << 30);
  status.mutable_arena()->set_used_bytes(1 << 29);
  status.set_chunks(1234);
  v1::RemovalCount* count = status.add_removed();
  count->set_cause(v1::REMOVAL_CAUSE_CORRUPT);
  count->set_chunks(2);
  status.add_removed()->set_cause(v1::REMOVAL_CAUSE_EXPIRED);
  v1::RemovalCount* unknown = status.add_removed();
  unknown->set_cause(static_cast<v1::RemovalCause>(99));
  unknown->set_chunks(1);
  const std::string text = StatusText(status);
  EXPECT_THAT(text, HasSubstr("larderd 9.9, up "));
  EXPECT_THAT(text, HasSubstr("draining"));
  EXPECT_THAT(text, HasSubstr("50%  512 MiB of 1.00 GiB"));
  EXPECT_THAT(text, HasSubstr("1,234 in 0 spaces"));
  EXPECT_THAT(text, HasSubstr("removed       corrupt 2, other 1\n"));
  EXPECT_THAT(text, HasSubstr("/dev/shm/x?"));
  EXPECT_THAT(StatusText(v1::StatusResponse()), HasSubstr("serving"));
}

TEST(CtlRender, SpacesShowHowTheirChunksAreStored) {
  v1::SpaceStatus space = SpaceWith("aa", 1, 1, 1, 1, 1);
  v1::Manifest& manifest = *space.mutable_description()->mutable_manifest();
  EXPECT_THAT(SpacesTable(std::vector{space}).ToString(), HasSubstr("  raw  "));
  manifest.set_codec(v1::CODEC_LARDER);
  EXPECT_THAT(SpacesTable(std::vector{space}).ToString(), HasSubstr("  larder  "));
  manifest.set_levels(2);
  EXPECT_THAT(SpacesTable(std::vector{space}).ToString(), HasSubstr("  larder, 2 levels  "));
  manifest.set_levels(1);
  EXPECT_THAT(SpacesTable(std::vector{space}).ToString(), HasSubstr("  larder, 1 level  "));
}

TEST(CtlRender, NamesOfOthersCannotMoveTheCursor) {
  const std::vector<v1::SpaceStatus> spaces = {SpaceWith("aa", 1, 1, 1, 1, 1)};
  EXPECT_THAT(SpacesTable(spaces).ToString(), HasSubstr("model?[31m"));
  v1::InspectResponse inspect;
  inspect.set_tenant("\x1b[2J");
  inspect.add_containers()->set_error("\x1b]0;");
  EXPECT_THAT(InspectText(inspect), Not(HasSubstr("\x1b")));
}

TEST(CtlRender, Chunks) {
  v1::ChunkStatus chunk;
  chunk.set_space_id("0123456789abcdef0123456789abcdef");
  chunk.set_key_hash("fedc");
  chunk.set_bytes(1 << 20);
  chunk.set_idle_ms(1500);
  const std::string text = ChunksTable(std::vector{chunk}).ToString();
  EXPECT_THAT(text, HasSubstr("\n01234567  fedc"));
  EXPECT_THAT(text, HasSubstr("1.00 MiB"));
  EXPECT_THAT(text, HasSubstr("1.50 s    never"));
  chunk.set_expires_in_ms(2000);
  EXPECT_THAT(ChunksTable(std::vector{chunk}).ToString(), HasSubstr("2.00 s"));
}

TEST(CtlRender, InspectShowsWhatIsWrong) {
  v1::InspectResponse response;
  response.mutable_chunk()->set_key_hash("fedc");
  v1::ContainerStatus* container = response.add_containers();
  container->set_verified(true);
  container->mutable_header()->set_parent_hash("beef");
  container->mutable_header()->set_header_crc32c(0xabc);
  EXPECT_FALSE(HasProblem(response));
  EXPECT_THAT(InspectText(response), HasSubstr("00000abc       verified"));
  EXPECT_THAT(InspectText(response), HasSubstr("parent    beef"));
  EXPECT_THAT(InspectText(response), HasSubstr("key       not readable"));
  container->set_verified(false);
  EXPECT_THAT(InspectText(response), HasSubstr("payload not checked"));
  container->set_error("layer 3: checksum differs");
  EXPECT_TRUE(HasProblem(response));
  EXPECT_THAT(InspectText(response), HasSubstr("layer 3: checksum differs"));
}

TEST(CtlJson, FollowsTheMessage) {
  v1::InspectResponse response;
  response.set_key(std::string("\x00\xff", 2));
  v1::ContainerStatus* container = response.add_containers();
  container->set_arena_offset(UINT64_MAX);
  container->mutable_header()->set_header_crc32c(0xabc);
  container->mutable_header()->set_key("k");
  const Json json = ToJson(response);
  EXPECT_EQ(json["key"], "00ff");
  EXPECT_EQ(json["chunk"], nullptr);
  EXPECT_EQ(json["containers"][0]["arena_offset"].get<uint64_t>(), UINT64_MAX);
  EXPECT_EQ(json["containers"][0]["verified"], false);
  EXPECT_EQ(json["containers"][0]["header"]["header_crc32c"], "00000abc");
  EXPECT_EQ(json["containers"][0]["header"]["key"], "6b");

  v1::StatusResponse status;
  status.set_epoch(0xabc);
  status.add_removed()->set_cause(v1::REMOVAL_CAUSE_CAPACITY);
  EXPECT_EQ(ToJson(status)["epoch"], "0000000000000abc");
  EXPECT_EQ(ToJson(status)["removed"][0]["cause"], "capacity");
  status.mutable_removed(0)->set_cause(static_cast<v1::RemovalCause>(99));
  EXPECT_EQ(ToJson(status)["removed"][0]["cause"], 99);

  v1::ChunkStatus chunk;
  EXPECT_EQ(ToJson(chunk)["expires_in_ms"], nullptr);
  chunk.set_expires_in_ms(0);
  EXPECT_EQ(ToJson(chunk)["expires_in_ms"], 0);
}

TEST(CtlJson, BrokenTextStaysJson) {
  const std::string text = ToText({{"name", "\xff"}});
  EXPECT_EQ(Json::parse(text)["name"], "\xef\xbf\xbd");
}

TEST(CtlJson, WritesListsAsTheyCome) {
  const auto written = [](int items) {
    FILE* file = std::tmpfile();
    JsonListWriter writer(file, "chunks");
    for (int i = 0; i < items; ++i) writer.Add({{"i", i}});
    writer.Finish({{"next_page_token", "t"}});
    std::string text(static_cast<size_t>(std::ftell(file)), '\0');
    std::rewind(file);
    EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
    std::fclose(file);
    return Json::parse(text);
  };
  EXPECT_EQ(written(0), Json({{"chunks", Json::array()}, {"next_page_token", "t"}}));
  EXPECT_EQ(written(2)["chunks"].size(), 2u);
  EXPECT_EQ(written(2)["chunks"][1]["i"], 1);
}

TEST(CtlEnums, NamesGoBothWays) {
  const auto& type = *v1::ElementType_descriptor();
  EXPECT_EQ(EnumName(type, v1::ELEMENT_TYPE_FLOAT8_E4M3), "float8_e4m3");
  EXPECT_EQ(EnumNumber(type, "float8_e4m3"), v1::ELEMENT_TYPE_FLOAT8_E4M3);
  EXPECT_EQ(EnumNumber(type, "unspecified"), std::nullopt);
  EXPECT_EQ(EnumNumber(type, ""), std::nullopt);
  EXPECT_EQ(EnumName(type, 1000), "");
}

TEST(CtlTop, RatesLieBetweenTheSamples) {
  const TopSample before = SampleAt(absl::Seconds(10), {SpaceWith("aa", 100, 1000, 0, 0, 0)}, 5);
  const TopSample now = SampleAt(absl::Seconds(12),
                                 {SpaceWith("aa", 300, 1300, 100, 4'000'000'000, 0),
                                  SpaceWith("bb", 20, 0, 0, 0, 6'000'000'000)},
                                 25);
  const TopRates total = TotalRates(before, now);
  EXPECT_DOUBLE_EQ(total.lookups_per_s, 110);
  EXPECT_DOUBLE_EQ(total.hit_ratio.value(), 0.75);
  EXPECT_DOUBLE_EQ(total.stored_gb_per_s, 2);
  EXPECT_DOUBLE_EQ(total.fetched_gb_per_s, 3);

  const std::string text = TopText(before, now, "127.0.0.1:7411", 100);
  EXPECT_THAT(text, HasSubstr("hit ratio 75.0%"));
  EXPECT_THAT(text, HasSubstr("stored 2.00 GB/s, fetched 3.00 GB/s"));
  EXPECT_THAT(text, HasSubstr("evicted 10/s, 25 in all"));
  EXPECT_LT(text.find("tenant-of-bb"), text.find("tenant-of-aa"));  // the busier first

  const Json json = TopJson(before, now);
  EXPECT_EQ(json["interval_ms"], 2000);
  EXPECT_EQ(json["evicted_chunks_per_s"], 10.0);
  EXPECT_EQ(json["spaces"][0]["space_id"], "bb");
  EXPECT_EQ(json["spaces"][0]["hit_ratio"], nullptr);
  EXPECT_EQ(json["spaces"][1]["hit_ratio"], 0.75);
}

TEST(CtlTop, AnotherDaemonHasNoRatesYet) {
  const TopSample before = SampleAt(absl::Seconds(1), {SpaceWith("aa", 100, 0, 0, 0, 0)}, 5);
  TopSample now = SampleAt(absl::Seconds(2), {SpaceWith("aa", 200, 0, 0, 0, 0)}, 9);
  EXPECT_DOUBLE_EQ(TotalRates(before, now).lookups_per_s, 100);
  now.status.set_epoch(2);
  EXPECT_DOUBLE_EQ(TotalRates(before, now).lookups_per_s, 0);
  EXPECT_EQ(TopJson(before, now)["evicted_chunks_per_s"], 0.0);
  EXPECT_DOUBLE_EQ(TotalRates(before, before).lookups_per_s, 0);
}

TEST(CtlTop, FitsTheScreen) {
  std::vector<v1::SpaceStatus> spaces;
  for (int i = 0; i < 50; ++i) spaces.push_back(SpaceWith(std::to_string(i), 0, 0, 0, 0, 0));
  const TopSample sample = SampleAt(absl::Seconds(1), spaces, 0);
  for (const size_t rows : {0, 1, 24}) {
    const std::string text = TopText(sample, sample, "a", rows);
    EXPECT_EQ(static_cast<size_t>(std::count(text.begin(), text.end(), '\n')), rows);
  }
  const std::string all = TopText(sample, sample, "a", 1000);
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 7 + 2 + 50);
}

}  // namespace
}  // namespace larder
