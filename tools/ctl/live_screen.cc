#include "tools/ctl/live_screen.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/clock.h"
#include "common/status.h"

namespace larder {
namespace {

// The other screen, no cursor, no line wrap; and back.
constexpr char kEnter[] = "\x1b[?1049h\x1b[?25l\x1b[?7l";
constexpr char kLeave[] = "\x1b[?7h\x1b[?25h\x1b[?1049l";
constexpr char kTop[] = "\x1b[H";
constexpr char kEraseToLineEnd[] = "\x1b[K";
constexpr char kEraseBelow[] = "\x1b[J";
constexpr size_t kRowsDefault = 24;

void Write(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

absl::StatusOr<SignalEvents> SignalEvents::Block() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  SignalEvents events;
  events.fd_ = FileDescriptor(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!events.fd_) return ErrnoStatus(errno, "signalfd");
  return events;
}

int SignalEvents::Next() {
  signalfd_siginfo info;
  if (read(fd_.get(), &info, sizeof(info)) != sizeof(info)) return 0;
  return static_cast<int>(info.ssi_signo);
}

bool LiveScreen::Possible() { return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1; }

LiveScreen::LiveScreen(SignalEvents* signals) : signals_(signals) {
  tcgetattr(STDIN_FILENO, &original_);
  termios quiet = original_;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  // Only the keys that end us may leave the screen.
  quiet.c_cc[VSUSP] = _POSIX_VDISABLE;
  quiet.c_cc[VQUIT] = _POSIX_VDISABLE;
  tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
  Write(kEnter);
}

LiveScreen::~LiveScreen() {
  Write(kLeave);
  tcsetattr(STDIN_FILENO, TCSAFLUSH, &original_);
}

size_t LiveScreen::rows() const {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return kRowsDefault;
  return size.ws_row;
}

void LiveScreen::Draw(const std::string& text) {
  // Without the last line's end, which would scroll a full screen.
  const size_t end = text.empty() || text.back() != '\n' ? text.size() : text.size() - 1;
  Write(absl::StrCat(
      kTop, absl::StrReplaceAll(text.substr(0, end), {{"\n", absl::StrCat(kEraseToLineEnd, "\n")}}),
      kEraseToLineEnd, kEraseBelow));
}

LiveScreen::Event LiveScreen::Wait(absl::Duration timeout) {
  const MonotonicTime deadline = SystemClock::Get().Now() + timeout;
  for (;;) {
    std::array<pollfd, 2> polled = {{{STDIN_FILENO, POLLIN, 0}, {signals_->fd(), POLLIN, 0}}};
    const absl::Duration left = std::max(deadline - SystemClock::Get().Now(), absl::ZeroDuration());
    const int wait_ms = static_cast<int>(absl::ToInt64Milliseconds(
        absl::Ceil(std::min(left, absl::Hours(24)), absl::Milliseconds(1))));
    const int ready = poll(polled.data(), polled.size(), wait_ms);
    if (ready == 0) return Event::kTimeout;
    if (ready < 0 && errno != EINTR) return Event::kQuit;
    if (const int number = signals_->Next(); number != 0) {
      return number == SIGWINCH ? Event::kResized : Event::kQuit;
    }
    if (polled[0].revents == 0) continue;
    char key = 0;
    // A terminal that is gone is readable and gives nothing.
    if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q') return Event::kQuit;
  }
}

}  // namespace larder
