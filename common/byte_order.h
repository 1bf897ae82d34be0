// Little-endian loads and stores at any alignment, and a bounded reader and writer on top of them.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace larder {

static_assert(std::endian::native == std::endian::little,
              "the formats are little-endian; a big-endian host needs byte swaps here");

template <std::integral T>
void StoreLittleEndian(void* destination, T value) {
  std::memcpy(destination, &value, sizeof value);
}

template <std::integral T>
T LoadLittleEndian(const void* source) {
  T value;
  std::memcpy(&value, source, sizeof value);
  return value;
}

// Reads fields in order. After a read past the end every later read fails too and `ok` is false,
// so that a parser checks once at its end. Does not own the bytes. Not thread-safe.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : rest_(bytes) {}

  template <std::integral T>
  T Read() {
    const std::span<const uint8_t> field = ReadBytes(sizeof(T));
    return ok_ ? LoadLittleEndian<T>(field.data()) : T{};
  }

  std::span<const uint8_t> ReadBytes(size_t size) {
    if (!ok_ || size > rest_.size()) {
      ok_ = false;
      return {};
    }
    const std::span<const uint8_t> field = rest_.first(size);
    rest_ = rest_.subspan(size);
    return field;
  }

  bool ok() const { return ok_; }
  size_t remaining() const { return ok_ ? rest_.size() : 0; }

 private:
  std::span<const uint8_t> rest_;
  bool ok_ = true;
};

// Appends fields to a growing buffer that it owns. Not thread-safe.
class ByteWriter {
 public:
  template <std::integral T>
  void Write(T value) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    StoreLittleEndian(bytes_.data() + at, value);
  }

  void WriteBytes(std::span<const uint8_t> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

  std::span<const uint8_t> bytes() const { return bytes_; }
  std::vector<uint8_t> Take() { return std::move(bytes_); }

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace larder
