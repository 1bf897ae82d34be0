// Simulated time: events in order, and what happened as a trace that two runs can be compared by.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/clock.h"

namespace larder {

// Not thread-safe. Events of the same time run in the order in which they were added.
class EventQueue {
 public:
  using Action = std::function<void()>;

  // So many of the latest lines of the trace can be read, at some cost.
  explicit EventQueue(size_t lines_kept) : lines_kept_(lines_kept) {}

  MonotonicTime now() const { return now_; }

  void At(MonotonicTime time, Action action) {
    events_.push({std::max(time, now_), next_sequence_++, std::move(action)});
  }
  void After(absl::Duration delay, Action action) { At(now_ + delay, std::move(action)); }

  // Runs what happens until `end`.
  void RunUntil(MonotonicTime end) {
    while (!stopped_ && !events_.empty() && events_.top().time <= end) {
      // The queue's elements are const, and an action is to be moved out before it runs.
      Event event = std::move(const_cast<Event&>(events_.top()));
      events_.pop();
      now_ = event.time;
      ++events_run_;
      event.action();
    }
    if (!stopped_) now_ = std::max(now_, end);
  }
  // Nothing more happens.
  void Stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }

  // Something has happened; `numbers` say what exactly.
  void Note(absl::string_view what, std::initializer_list<uint64_t> numbers) {
    Mix(static_cast<uint64_t>(now_.nanoseconds));
    for (const char c : what) Mix(static_cast<uint8_t>(c));
    for (const uint64_t number : numbers) Mix(number);
    if (lines_kept_ == 0) return;
    std::string line = absl::StrCat(now_.nanoseconds / 1000, " us  ", what);
    for (const uint64_t number : numbers) absl::StrAppend(&line, " ", number);
    text_.push_back(std::move(line));
    if (text_.size() > lines_kept_) text_.pop_front();
  }
  uint64_t trace_hash() const { return hash_; }
  uint64_t events_run() const { return events_run_; }
  const std::deque<std::string>& text() const { return text_; }

 private:
  struct Event {
    MonotonicTime time;
    uint64_t sequence = 0;
    Action action;
    friend bool operator<(const Event& a, const Event& b) {
      return std::pair(b.time, b.sequence) < std::pair(a.time, a.sequence);
    }
  };

  void Mix(uint64_t value) {
    hash_ = (hash_ ^ value) * 0x9e3779b97f4a7c15;
    hash_ ^= hash_ >> 29;
  }

  const size_t lines_kept_;
  bool stopped_ = false;
  MonotonicTime now_;
  std::priority_queue<Event> events_;
  uint64_t next_sequence_ = 0;
  uint64_t events_run_ = 0;
  uint64_t hash_ = 1;
  std::deque<std::string> text_;
};

// A process that can be stopped for a while, and killed. What is posted to it runs at once, after
// the stop, or, if it was killed meanwhile, never.
class SimHost {
 public:
  bool alive() const { return alive_; }
  bool stopped() const { return stopped_; }
  // Of its life; another one after each start.
  uint64_t life() const { return life_; }

  void Start() {
    ++life_;
    alive_ = true;
  }
  void Kill() {
    alive_ = stopped_ = false;
    inbox_.clear();
  }
  void Stop() { stopped_ = alive_; }
  void Continue() {
    stopped_ = false;
    // What runs may kill the host, or stop it again.
    while (alive_ && !stopped_ && !inbox_.empty()) {
      EventQueue::Action action = std::move(inbox_.front());
      inbox_.pop_front();
      action();
    }
  }

  void Post(uint64_t life, EventQueue::Action action) {
    if (!alive_ || life != life_) return;
    if (stopped_) {
      inbox_.push_back(std::move(action));
    } else {
      action();
    }
  }

 private:
  bool alive_ = false;
  bool stopped_ = false;
  uint64_t life_ = 0;
  std::deque<EventQueue::Action> inbox_;
};

}  // namespace larder
