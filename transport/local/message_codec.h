// Reads and writes the structs of message_format.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status.h"

namespace larder {

// Takes a received payload apart, in order. Every read is bounded; the first that does not fit
// makes all later ones fail, and Finish says so. The payload must outlive what is returned. Not
// thread-safe.
class MessageReader {
 public:
  explicit MessageReader(std::span<const uint8_t> payload) : rest_(payload) {}

  template <typename T>
  T Read() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (const auto bytes = ReadBytes(sizeof(T)); !bytes.empty()) {
      std::memcpy(&value, bytes.data(), sizeof(T));
    }
    return value;
  }

  template <typename T>
  std::vector<T> ReadArray(uint64_t count, uint64_t count_max) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (count > count_max || count > rest_.size() / sizeof(T)) {
      failed_ = true;
      return {};
    }
    std::vector<T> values(count);
    const auto bytes = ReadBytes(count * sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  std::span<const uint8_t> ReadBytes(uint64_t size) {
    if (failed_ || size > rest_.size()) {
      failed_ = true;
      return {};
    }
    const std::span<const uint8_t> bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return bytes;
  }

  absl::string_view ReadText(uint64_t size) {
    const std::span<const uint8_t> bytes = ReadBytes(size);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // INVALID_ARGUMENT unless everything fitted and nothing is left. `what` names the message.
  absl::Status Finish(absl::string_view what) const {
    if (failed_) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": shorter than its counts say, or a count is over its limit"));
    }
    if (!rest_.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": ", rest_.size(), " bytes too many at its end"));
    }
    return absl::OkStatus();
  }

 private:
  std::span<const uint8_t> rest_;
  bool failed_ = false;
};

// Builds a payload in a buffer that it owns and reuses. Not thread-safe.
class MessageWriter {
 public:
  void Clear() { size_ = 0; }

  template <typename T>
  void Write(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::memcpy(Extend(sizeof(T)), &value, sizeof(T));
  }

  // Appends `count` values at once: value_at(i) for each i.
  template <typename T, typename ValueAt>
  void WriteArray(size_t count, ValueAt value_at) {
    static_assert(std::is_trivially_copyable_v<T>);
    uint8_t* at = Extend(count * sizeof(T));
    for (size_t i = 0; i < count; ++i, at += sizeof(T)) {
      const T value = value_at(i);
      std::memcpy(at, &value, sizeof(T));
    }
  }

  void WriteBytes(std::span<const uint8_t> bytes) {
    if (!bytes.empty()) std::memcpy(Extend(bytes.size()), bytes.data(), bytes.size());
  }

  void WriteText(absl::string_view text) {
    WriteBytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }

  std::span<const uint8_t> payload() const { return {bytes_.get(), size_}; }

 private:
  static constexpr size_t kFirstCapacityBytes = 256;

  // Room for `bytes` more at the end, not initialised.
  uint8_t* Extend(size_t bytes) {
    if (bytes > capacity_ - size_) {
      const size_t grown_capacity =
          std::max({size_ + bytes, 2 * capacity_, size_t{kFirstCapacityBytes}});
      std::unique_ptr<uint8_t[]> grown(new uint8_t[grown_capacity]);
      if (size_ != 0) std::memcpy(grown.get(), bytes_.get(), size_);
      bytes_ = std::move(grown);
      capacity_ = grown_capacity;
    }
    uint8_t* const at = bytes_.get() + size_;
    size_ += bytes;
    return at;
  }

  std::unique_ptr<uint8_t[]> bytes_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace larder
