// A full-screen view that is redrawn until somebody ends it.
#pragma once

#include <termios.h>

#include <csignal>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/file_descriptor.h"

namespace larder {

// Turns the signals that would end the program, or tell that the window has another size, into
// events, so that a terminal is always left as it was. Make one before any thread starts: threads
// inherit it. Not thread-safe.
class SignalEvents {
 public:
  static absl::StatusOr<SignalEvents> Block();

  int fd() const { return fd_.get(); }
  // The number of a signal that has come, or 0.
  int Next();

 private:
  FileDescriptor fd_;
};

// The terminal of standard input and output, on its other screen, without echo, cursor and line
// wrap; the destructor puts it back. Not thread-safe.
class LiveScreen {
 public:
  enum class Event { kTimeout, kQuit, kResized };

  // Whether standard input and output are a terminal.
  static bool Possible();

  // `signals` outlives it. REQUIRES: Possible().
  explicit LiveScreen(SignalEvents* signals);
  LiveScreen(const LiveScreen&) = delete;
  LiveScreen& operator=(const LiveScreen&) = delete;
  ~LiveScreen();

  // How many lines fit.
  size_t rows() const;

  // Shows `text`, which has at most rows() lines, in place of what was there.
  void Draw(const std::string& text);

  // Waits for the key q, an ending signal, another window size, or the time to pass.
  Event Wait(absl::Duration timeout);

 private:
  SignalEvents* const signals_;
  termios original_ = {};
};

}  // namespace larder
