#include "tools/workload/request_parser.h"

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "common/status.h"

namespace larder {
namespace {

// The library's exception id for a number that no double holds.
constexpr int kNumberOutOfRange = 406;
// Beyond 2^53 a double no longer holds every millisecond.
constexpr double kTimestampMax = 0x1.0p53;

enum Field { kTimestamp, kInputLength, kOutputLength, kHashIds, kSession, kFieldCount, kOther };

struct FieldRule {
  absl::string_view name;
  absl::string_view wants;
  bool required;
};
constexpr std::array<FieldRule, kFieldCount> kFields = {{
    {"timestamp", "a number of milliseconds from 0 to 2^53", true},
    {"input_length", "an integer from 0 to 4294967295", true},
    {"output_length", "an integer from 0 to 4294967295", true},
    {"hash_ids", "an array of integers from 0 to 18446744073709551615", true},
    {"session", "an integer from 0 to 18446744073709551614 or a string", false},
}};

Field FieldOf(const std::string& name) {
  for (size_t i = 0; i < kFields.size(); ++i) {
    if (kFields[i].name == name) return static_cast<Field>(i);
  }
  return kOther;
}

// Takes the parser's events as they come, so that no document is built: a hostile line costs no
// more memory than its ids. An event handler returns false to stop; `failure_` then says why.
class RequestHandler {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  bool null() { return Unless(IsExpected(), "null"); }
  bool boolean(bool) { return Unless(IsExpected(), "a boolean"); }
  bool binary(binary_t&) { return Unless(IsExpected(), "binary data"); }
  // The parser gives this event to negative numbers only.
  bool number_integer(number_integer_t value) { return Unless(IsExpected(), absl::StrCat(value)); }
  bool number_unsigned(number_unsigned_t value);
  bool number_float(number_float_t value, const string_t& text);
  bool string(string_t& value);
  bool start_object(size_t);
  bool start_array(size_t);
  bool key(string_t& name);
  bool end_object() { return Leave(); }
  bool end_array() { return Leave(); }
  template <typename Exception>
  bool parse_error(size_t position, const std::string&, const Exception& error) {
    return Fail(absl::StrCat(error.id == kNumberOutOfRange ? "number too large" : "not valid JSON",
                             " at column ", position));
  }

  absl::StatusOr<Request> Finish() &&;

 private:
  // True when the value that begins here is one that a rule of kFields applies to.
  bool IsExpected() const { return depth_ == 0 || (depth_ == 1 && field_ != kOther) || in_ids_; }
  // Goes on with a value that nobody wants, stops at one that is not what its place wants.
  bool Unless(bool bad, absl::string_view got) { return !bad || WrongValue(got); }
  bool WrongValue(absl::string_view got);
  bool Fail(absl::string_view message);
  bool Leave();
  bool SetTokens(uint64_t value, uint32_t* target);

  Request request_;
  std::array<bool, kFieldCount> seen_ = {};
  Field field_ = kOther;
  size_t depth_ = 0;     // open objects and arrays
  bool in_ids_ = false;  // directly inside the array of hash_ids
  absl::Status failure_;
};

bool RequestHandler::Fail(absl::string_view message) {
  if (failure_.ok()) failure_ = absl::InvalidArgumentError(message);
  return false;
}

bool RequestHandler::WrongValue(absl::string_view got) {
  if (depth_ == 0) return Fail(absl::StrCat("must be a JSON object, not ", got));
  const FieldRule& rule = kFields[field_];
  const std::string element =
      in_ids_ ? absl::StrCat("[", request_.block_ids.size(), "]") : std::string();
  return Fail(absl::StrCat("field '", rule.name, element, "': must be ",
                           in_ids_ ? "an integer from 0 to 18446744073709551615" : rule.wants,
                           ", not ", got));
}

bool RequestHandler::SetTokens(uint64_t value, uint32_t* target) {
  if (value > std::numeric_limits<uint32_t>::max()) return WrongValue(absl::StrCat(value));
  *target = static_cast<uint32_t>(value);
  return true;
}

bool RequestHandler::number_unsigned(number_unsigned_t value) {
  if (!IsExpected()) return true;
  if (in_ids_) {
    request_.block_ids.push_back(value);
    return true;
  }
  if (depth_ == 0) return WrongValue("a number");
  switch (field_) {
    case kTimestamp:
      if (static_cast<double>(value) > kTimestampMax) return WrongValue(absl::StrCat(value));
      request_.timestamp_ms = static_cast<double>(value);
      return true;
    case kInputLength:
      return SetTokens(value, &request_.input_tokens);
    case kOutputLength:
      return SetTokens(value, &request_.output_tokens);
    case kSession:
      if (value == kNoSession) return WrongValue(absl::StrCat(value));
      request_.session = value;
      return true;
    default:
      return WrongValue("a number");
  }
}

bool RequestHandler::number_float(number_float_t value, const string_t& text) {
  if (!IsExpected()) return true;
  if (depth_ == 1 && field_ == kTimestamp && value >= 0 && value <= kTimestampMax) {
    request_.timestamp_ms = value;
    return true;
  }
  constexpr size_t kQuotedBytesMax = 40;
  return WrongValue(absl::string_view(text).substr(0, kQuotedBytesMax));
}

bool RequestHandler::string(string_t& value) {
  if (!IsExpected()) return true;
  if (depth_ != 1 || field_ != kSession) return WrongValue("a string");
  const Hash128 hash = HashBytes({reinterpret_cast<const uint8_t*>(value.data()), value.size()});
  request_.session = hash.low == kNoSession ? 0 : hash.low;
  return true;
}

bool RequestHandler::start_object(size_t) {
  if (depth_ > 0 && IsExpected()) return WrongValue("an object");
  ++depth_;
  return true;
}

bool RequestHandler::start_array(size_t) {
  if (IsExpected()) {
    if (depth_ != 1 || field_ != kHashIds) return WrongValue("an array");
    in_ids_ = true;
  }
  ++depth_;
  return true;
}

bool RequestHandler::key(string_t& name) {
  if (depth_ != 1) return true;
  field_ = FieldOf(name);
  if (field_ == kOther) return true;
  if (seen_[field_]) return Fail(absl::StrCat("field '", name, "' appears twice"));
  seen_[field_] = true;
  return true;
}

bool RequestHandler::Leave() {
  --depth_;
  if (depth_ == 1) in_ids_ = false;
  return true;
}

absl::StatusOr<Request> RequestHandler::Finish() && {
  RETURN_IF_ERROR(failure_);
  for (size_t i = 0; i < kFields.size(); ++i) {
    if (kFields[i].required && !seen_[i]) {
      return absl::InvalidArgumentError(absl::StrCat("field '", kFields[i].name, "' is missing"));
    }
  }
  return std::move(request_);
}

}  // namespace

absl::StatusOr<Request> ParseRequest(absl::string_view line) {
  RequestHandler handler;
  nlohmann::json::sax_parse(line.begin(), line.end(), &handler);
  return std::move(handler).Finish();
}

}  // namespace larder
