#include <cstdio>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/clock.h"
#include "common/status.h"
#include "tools/ctl/admin_client.h"
#include "tools/ctl/commands.h"
#include "tools/ctl/live_screen.h"
#include "tools/ctl/top.h"

namespace larder {
namespace {

absl::StatusOr<TopSample> TakeSample(AdminClient& admin) {
  TopSample sample;
  ASSIGN_OR_RETURN(sample.status, admin.Call(&v1::Admin::Stub::Status, v1::StatusRequest()));
  ASSIGN_OR_RETURN(sample.spaces, admin.Spaces());
  sample.time = SystemClock::Get().Now();
  return sample;
}

absl::StatusOr<ExitCode> PrintOnce(const Invocation& invocation, AdminClient& admin) {
  ASSIGN_OR_RETURN(const TopSample before, TakeSample(admin));
  absl::SleepFor(invocation.interval);
  ASSIGN_OR_RETURN(const TopSample now, TakeSample(admin));
  const std::string text =
      invocation.json ? ToText(TopJson(before, now))
                      : TopText(before, now, admin.address(), std::numeric_limits<size_t>::max());
  std::fputs(text.c_str(), stdout);
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> ShowLive(const Invocation& invocation, AdminClient& admin,
                                  SignalEvents* signals) {
  ASSIGN_OR_RETURN(TopSample before, TakeSample(admin));
  TopSample now = before;
  LiveScreen screen(signals);
  for (;;) {
    screen.Draw(TopText(before, now, admin.address(), screen.rows()));
    LiveScreen::Event event;
    while ((event = screen.Wait(invocation.interval)) == LiveScreen::Event::kResized) {
      screen.Draw(TopText(before, now, admin.address(), screen.rows()));
    }
    if (event == LiveScreen::Event::kQuit) return ExitCode::kOk;
    // A daemon that is gone may come back: the view waits for it.
    absl::StatusOr<TopSample> sample = TakeSample(admin);
    while (!sample.ok()) {
      screen.Draw(absl::StrCat(sample.status().message(), "\n\nq quits"));
      if (screen.Wait(invocation.interval) == LiveScreen::Event::kQuit) return ExitCode::kOk;
      admin.Reconnect();
      sample = TakeSample(admin);
    }
    before = std::exchange(now, *std::move(sample));
  }
}

}  // namespace

absl::StatusOr<ExitCode> RunTop(const Invocation& invocation) {
  if (invocation.once || invocation.json || !LiveScreen::Possible()) {
    AdminClient admin(invocation.address, invocation.timeout);
    return PrintOnce(invocation, admin);
  }
  // Before the threads of gRPC, which would be ended by these signals otherwise.
  ASSIGN_OR_RETURN(SignalEvents signals, SignalEvents::Block());
  AdminClient admin(invocation.address, invocation.timeout);
  return ShowLive(invocation, admin, &signals);
}

}  // namespace larder
