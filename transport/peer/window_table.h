// What peers may write to and read from, and the messages that wait for bytes of a window.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "transport/peer/range_list.h"

namespace larder {

struct Window {
  uint64_t number = 0;
  std::string node;
  WindowAccess access = WindowAccess::kWrite;
  PayloadSum sum = PayloadSum::kTransport;
  RangeList ranges;
  // Who moves bytes in or out right now; a closed window is reported when there is nobody left.
  uint32_t users = 0;
  bool closed = false;
  uint64_t session = 0;  // that `written_bytes` counts for
  uint64_t written_bytes = 0;
  // Of the window that the answer to a Read is written to: the transport's own.
  std::optional<uint64_t> read_token;
  bool read_ok = false;

  // Counts bytes written in a session; those of earlier ones no longer count.
  void AddWritten(uint64_t writing_session, uint64_t bytes);
};

// Pure, not thread-safe. A window that is used stays alive when it is closed.
class WindowTable {
 public:
  absl::Status Open(std::shared_ptr<Window> window);
  // Null when it is not open.
  std::shared_ptr<Window> Close(uint64_t number);
  std::shared_ptr<Window> Find(uint64_t number) const;
  // Null unless `node` may do this. `summed`: the frame carries a sum of the bytes.
  std::shared_ptr<Window> Use(uint64_t number, const std::string& node, WindowAccess access,
                              uint64_t offset, uint64_t bytes, bool summed) const;

 private:
  std::unordered_map<uint64_t, std::shared_ptr<Window>> windows_;
};

// Messages of one session, each held until enough of its window is written. Not thread-safe.
class HeldMessages {
 public:
  struct Message {
    uint64_t window = 0;
    uint64_t window_bytes = 0;
    std::vector<uint8_t> payload;
  };

  void Hold(Message message);
  // Moves those of the window whose bytes are there to `ready`, in the order they came.
  void TakeReady(uint64_t window, uint64_t written_bytes, std::vector<Message>* ready);
  // Drops those of a closed window and returns how many these were.
  size_t Drop(uint64_t window);
  size_t size() const { return messages_.size(); }
  uint64_t bytes() const { return bytes_; }

 private:
  std::vector<Message> messages_;
  uint64_t bytes_ = 0;
};

}  // namespace larder
