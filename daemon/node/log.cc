#include "daemon/node/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace larder {
namespace {

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = spdlog::stderr_logger_mt("larderd");
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
    return made;
  }();
  return *logger;
}

bool NeedsQuotes(absl::string_view value) {
  return value.empty() || std::any_of(value.begin(), value.end(), [](unsigned char c) {
           return c <= ' ' || c == '"' || c == '=' || c >= 0x7f;
         });
}

void Log(spdlog::level::level_enum level, absl::string_view event,
         std::initializer_list<LogField> fields) {
  if (!Logger().should_log(level)) return;
  std::string line = absl::StrCat("event=\"", event, "\"");
  for (const LogField& field : fields) {
    // Values may come from clients: escaped, they cannot forge a line.
    const std::string value = NeedsQuotes(field.value)
                                  ? absl::StrCat("\"", absl::CEscape(field.value), "\"")
                                  : field.value;
    absl::StrAppend(&line, " ", field.key, "=", value);
  }
  Logger().log(level, "{}", line);
}

}  // namespace

absl::Status SetLogLevel(absl::string_view level) {
  if (level == "debug") {
    Logger().set_level(spdlog::level::debug);
  } else if (level == "info") {
    Logger().set_level(spdlog::level::info);
  } else if (level == "warning") {
    Logger().set_level(spdlog::level::warn);
  } else if (level == "error") {
    Logger().set_level(spdlog::level::err);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("log level \"", level, "\" is none of debug, info, warning, error"));
  }
  return absl::OkStatus();
}

void LogInfo(absl::string_view event, std::initializer_list<LogField> fields) {
  Log(spdlog::level::info, event, fields);
}
void LogWarning(absl::string_view event, std::initializer_list<LogField> fields) {
  Log(spdlog::level::warn, event, fields);
}
void LogError(absl::string_view event, std::initializer_list<LogField> fields) {
  Log(spdlog::level::err, event, fields);
}

}  // namespace larder
