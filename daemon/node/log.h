// Structured logs: one line an event, "time level event key=value ...", on standard error.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "common/status.h"

namespace larder {

struct LogField {
  absl::string_view key;
  std::string value;
};

// "debug", "info", "warning" or "error"; INVALID_ARGUMENT otherwise. Thread-safe, as all here.
absl::Status SetLogLevel(absl::string_view level);

void LogInfo(absl::string_view event, std::initializer_list<LogField> fields = {});
void LogWarning(absl::string_view event, std::initializer_list<LogField> fields = {});
void LogError(absl::string_view event, std::initializer_list<LogField> fields = {});

}  // namespace larder
