#include "common/byte_order.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace larder {
namespace {

TEST(ByteOrderTest, LowByteFirstAtAnyAlignment) {
  std::array<uint8_t, 9> bytes{};
  StoreLittleEndian<uint32_t>(bytes.data() + 1, 0x01020304u);
  EXPECT_EQ(bytes, (std::array<uint8_t, 9>{0, 4, 3, 2, 1, 0, 0, 0, 0}));
  EXPECT_EQ(LoadLittleEndian<uint32_t>(bytes.data() + 1), 0x01020304u);
  EXPECT_EQ(LoadLittleEndian<uint64_t>(bytes.data() + 1), 0x01020304u);
  StoreLittleEndian<int16_t>(bytes.data() + 7, -2);
  EXPECT_EQ(bytes[7], 0xfe);
  EXPECT_EQ(LoadLittleEndian<int16_t>(bytes.data() + 7), -2);
}

TEST(ByteOrderTest, WriterAndReaderAgree) {
  ByteWriter writer;
  const std::array<uint8_t, 3> tail = {7, 8, 9};
  writer.Write<uint8_t>(0xab);
  writer.Write<uint16_t>(0x1234);
  writer.Write<int32_t>(-5);
  writer.Write<uint64_t>(std::numeric_limits<uint64_t>::max());
  writer.WriteBytes(tail);
  EXPECT_EQ(writer.bytes().size(), 18u);
  const std::vector<uint8_t> bytes = writer.Take();

  ByteReader reader(bytes);
  EXPECT_EQ(reader.Read<uint8_t>(), 0xab);
  EXPECT_EQ(reader.Read<uint16_t>(), 0x1234);
  EXPECT_EQ(reader.Read<int32_t>(), -5);
  EXPECT_EQ(reader.Read<uint64_t>(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(reader.remaining(), 3u);
  const std::span<const uint8_t> read_tail = reader.ReadBytes(3);
  EXPECT_TRUE(std::equal(read_tail.begin(), read_tail.end(), tail.begin(), tail.end()));
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.remaining(), 0u);
}

TEST(ByteOrderTest, ReadingPastTheEndFailsForGood) {
  const std::array<uint8_t, 5> bytes = {1, 2, 3, 4, 5};
  ByteReader reader(bytes);
  EXPECT_EQ(reader.Read<uint32_t>(), 0x04030201u);
  EXPECT_EQ(reader.Read<uint16_t>(), 0);  // One byte is left.
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.remaining(), 0u);
  EXPECT_EQ(reader.Read<uint8_t>(), 0);  // It would have fitted, but the position is lost.
  EXPECT_TRUE(reader.ReadBytes(0).empty());
  EXPECT_FALSE(reader.ok());
}

TEST(ByteOrderTest, HugeSizesDoNotWrapAround) {
  const std::array<uint8_t, 4> bytes = {1, 2, 3, 4};
  ByteReader reader(bytes);
  EXPECT_EQ(reader.Read<uint8_t>(), 1);
  EXPECT_TRUE(reader.ReadBytes(std::numeric_limits<size_t>::max()).empty());
  EXPECT_FALSE(reader.ok());
}

TEST(ByteOrderTest, ReaderOfNothing) {
  ByteReader reader({});
  EXPECT_TRUE(reader.ReadBytes(0).empty());
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.Read<uint8_t>(), 0);
  EXPECT_FALSE(reader.ok());
}

}  // namespace
}  // namespace larder
