#include "transport/peer/window_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {

void Window::AddWritten(uint64_t writing_session, uint64_t bytes) {
  if (session != writing_session) {
    session = writing_session;
    written_bytes = 0;
  }
  written_bytes += bytes;
}

absl::Status WindowTable::Open(std::shared_ptr<Window> window) {
  const uint64_t number = window->number;
  if (!windows_.emplace(number, std::move(window)).second) {
    return absl::AlreadyExistsError(absl::StrCat("window ", number, " is open"));
  }
  return absl::OkStatus();
}

std::shared_ptr<Window> WindowTable::Close(uint64_t number) {
  const auto found = windows_.find(number);
  if (found == windows_.end()) return nullptr;
  std::shared_ptr<Window> window = std::move(found->second);
  windows_.erase(found);
  window->closed = true;
  return window;
}

std::shared_ptr<Window> WindowTable::Find(uint64_t number) const {
  const auto found = windows_.find(number);
  return found == windows_.end() ? nullptr : found->second;
}

std::shared_ptr<Window> WindowTable::Use(uint64_t number, const std::string& node,
                                         WindowAccess access, uint64_t offset, uint64_t bytes,
                                         bool summed) const {
  std::shared_ptr<Window> window = Find(number);
  if (window == nullptr || window->node != node || window->access != access) return nullptr;
  if (offset > window->ranges.bytes() || bytes > window->ranges.bytes() - offset) return nullptr;
  if (!summed && window->sum == PayloadSum::kTransport) return nullptr;
  return window;
}

void HeldMessages::Hold(Message message) {
  bytes_ += message.payload.size();
  messages_.push_back(std::move(message));
}

void HeldMessages::TakeReady(uint64_t window, uint64_t written_bytes, std::vector<Message>* ready) {
  const auto waits = [&](const Message& message) {
    return message.window != window || message.window_bytes > written_bytes;
  };
  const auto first = std::stable_partition(messages_.begin(), messages_.end(), waits);
  for (auto message = first; message != messages_.end(); ++message) {
    bytes_ -= message->payload.size();
    ready->push_back(std::move(*message));
  }
  messages_.erase(first, messages_.end());
}

size_t HeldMessages::Drop(uint64_t window) {
  std::vector<Message> dropped;
  TakeReady(window, ~uint64_t{0}, &dropped);
  return dropped.size();
}

}  // namespace larder
