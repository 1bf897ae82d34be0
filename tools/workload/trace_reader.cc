#include "tools/workload/trace_reader.h"

#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "tools/workload/byte_stream.h"
#include "tools/workload/line_reader.h"
#include "tools/workload/request_parser.h"

namespace larder {
namespace {

class TraceReader final : public RequestSource {
 public:
  TraceReader(std::string path, std::unique_ptr<ByteStream> stream)
      : path_(std::move(path)), lines_(std::move(stream)) {}

  absl::StatusOr<std::optional<Request>> Next() override {
    RETURN_IF_ERROR(failure_);
    if (ended_) return std::nullopt;
    absl::StatusOr<std::optional<Request>> request = ReadRequest();
    if (!request.ok()) {
      failure_ = Annotate(request.status(), absl::StrCat(path_, ":", lines_.line_number()));
      return failure_;
    }
    ended_ = !request->has_value();
    return request;
  }

 private:
  absl::StatusOr<std::optional<Request>> ReadRequest() {
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<absl::string_view> line, lines_.Next());
      if (!line.has_value()) {
        if (!any_) return absl::InvalidArgumentError("the trace holds no request");
        return std::nullopt;
      }
      if (absl::StripAsciiWhitespace(*line).empty()) continue;
      any_ = true;
      ASSIGN_OR_RETURN(Request request, ParseRequest(*line));
      return request;
    }
  }

  const std::string path_;
  LineReader lines_;
  bool any_ = false;
  bool ended_ = false;
  absl::Status failure_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RequestSource>> OpenTrace(const std::string& path) {
  absl::StatusOr<std::unique_ptr<ByteStream>> stream = OpenDecompressed(path);
  if (!stream.ok()) return Annotate(stream.status(), path);
  return std::make_unique<TraceReader>(path, *std::move(stream));
}

}  // namespace larder
