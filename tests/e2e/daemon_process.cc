#include "tests/e2e/daemon_process.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "transport/local/socket.h"

namespace larder {

DaemonProcess::DaemonProcess(const std::string& directory, DaemonOptions options)
    : directory_(directory),
      socket_path_(directory + "/larder.sock"),
      options_(std::move(options)) {}

std::vector<std::string> DaemonProcess::CommandLine() const {
  std::vector<std::string> arguments = {LARDERD_PATH,
                                        "--socket=" + socket_path_,
                                        "--arena-directory=" + directory_ + "/arena",
                                        absl::StrCat("--arena-bytes=", options_.arena_bytes),
                                        "--grpc-listen=",
                                        "--metrics-listen="};
  arguments.insert(arguments.begin(), options_.launcher.begin(), options_.launcher.end());
  arguments.insert(arguments.end(), options_.flags.begin(), options_.flags.end());
  return arguments;
}

void DaemonProcess::Start() {
  Launch();
  const bool ready = Eventually([this] {
    const bool answers = UnixConnect(socket_path_, SystemClock::Get().Now()).ok();
    return answers || process_->WaitForEnd(absl::ZeroDuration()).has_value();
  });
  ASSERT_TRUE(ready && running()) << "larderd did not start: " << process_->Output();
}

void DaemonProcess::Kill() { process_->Kill(); }

int NumberFromEnvironment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  int number = 0;
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number : otherwise;
}

std::unique_ptr<Client> ConnectClient(const std::string& socket_path, absl::Duration timeout) {
  absl::StatusOr<std::unique_ptr<Client>> client =
      Client::Connect({.socket_path = socket_path, .name = "e2e", .timeout = timeout});
  EXPECT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(Eventually([&] { return (*client)->connected(); }));
  return *std::move(client);
}

}  // namespace larder
