#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status.h"
#include "tools/console/progress_bar.h"
#include "tools/console/units.h"
#include "tools/ctl/admin_client.h"
#include "tools/ctl/commands.h"
#include "tools/ctl/proto_json.h"
#include "tools/ctl/render.h"
#include "tools/ctl/space_lookup.h"

namespace larder {
namespace {

using KeysMethod = grpc::Status (v1::Admin::Stub::*)(grpc::ClientContext*, const v1::KeysRequest&,
                                                     v1::KeysResponse*);

// As many as one request may have.
constexpr size_t kRequestKeysMax = 4096;

std::string Chunks(uint64_t count) {
  return absl::StrCat(FormatCount(count), count == 1 ? " chunk" : " chunks");
}

// `done` says in one word what was done to the chunks.
absl::StatusOr<ExitCode> ChangeChunks(const Invocation& invocation, KeysMethod method,
                                      const char* done) {
  AdminClient admin(invocation.address, invocation.timeout);
  ASSIGN_OR_RETURN(const v1::SpaceStatus space, FindSpace(admin, invocation.space.id));
  const KeyChoice& chosen = invocation.keys;
  uint64_t found = 0;
  for (size_t first = 0; first < chosen.size(); first += kRequestKeysMax) {
    v1::KeysRequest request;
    request.set_space_id(space.space_id());
    const size_t end = std::min(first + kRequestKeysMax, chosen.size());
    for (size_t i = first; i < end && i < chosen.keys.size(); ++i) {
      request.add_keys(chosen.keys[i]);
    }
    for (size_t i = first; i < end && i < chosen.hashes.size(); ++i) {
      request.add_key_hashes(chosen.hashes[i]);
    }
    ASSIGN_OR_RETURN(const v1::KeysResponse response, admin.Call(method, request));
    found += response.found();
  }
  if (invocation.json) {
    std::fputs(ToText({{"asked", chosen.size()}, {"found", found}}).c_str(), stdout);
  } else {
    std::printf("%s %s%s\n", done, Chunks(found).c_str(),
                found == chosen.size()
                    ? ""
                    : absl::StrCat("; not stored: ", chosen.size() - found).c_str());
  }
  return found == chosen.size() ? ExitCode::kOk : ExitCode::kFailed;
}

// What is about to be lost, in words.
std::string Describe(std::span<const v1::SpaceStatus> spaces) {
  uint64_t chunks = 0, bytes = 0;
  for (const v1::SpaceStatus& space : spaces) {
    chunks += space.resident_chunks();
    bytes += space.resident_bytes();
  }
  std::string text = absl::StrCat(Chunks(chunks), ", ", FormatBytes(bytes));
  if (spaces.size() == 1) {
    absl::StrAppend(&text, ", of ", spaces[0].description().tenant(), ", ",
                    spaces[0].description().manifest().model());
  } else {
    absl::StrAppend(&text, ", of ", FormatCount(spaces.size()), " spaces");
  }
  return Printable(text);
}

bool Confirmed(const std::string& question) {
  std::fprintf(stderr, "%s [y/N] ", question.c_str());
  std::fflush(stderr);
  std::string answer;
  if (!std::getline(std::cin, answer)) std::fputs("\n", stderr);
  answer = absl::AsciiStrToLower(absl::StripAsciiWhitespace(answer));
  return answer == "y" || answer == "yes";
}

// Shows what a verification finds, and sums it up.
class VerifyReport {
 public:
  explicit VerifyReport(bool as_json) : as_json_(as_json) {}

  void Take(const v1::VerifyResponse& response) {
    if (response.has_corrupt()) {
      Show(response.corrupt());
    } else if (response.has_progress()) {
      last_ = response.progress();
      if (!bar_.has_value() && !as_json_) {
        bar_.emplace(ProgressBar::OnTerminal(SystemClock::Get(), "chunks", last_.total_chunks()));
      }
      if (bar_.has_value()) bar_->Update(last_.chunks() + last_.skipped());
    }
  }

  absl::StatusOr<ExitCode> Finish(const absl::Status& status) {
    bar_.reset();
    if (as_json_ && (status.ok() || list_.has_value())) {
      if (!list_.has_value()) list_.emplace(stdout, "corrupt_chunks");
      list_->Finish(ToJson(last_));
    }
    RETURN_IF_ERROR(status);
    if (!last_.done()) return absl::DataLossError("the daemon stopped before it had seen all");
    if (!as_json_) {
      std::printf(
          "checked %s, %s: %s%s\n", Chunks(last_.chunks()).c_str(),
          FormatBytes(last_.bytes()).c_str(),
          last_.corrupt() == 0 ? "all are sound"
                               : absl::StrCat(Chunks(last_.corrupt()), " bad and removed").c_str(),
          last_.skipped() == 0
              ? ""
              : absl::StrCat("; ", FormatCount(last_.skipped()), " went away meanwhile").c_str());
    }
    return last_.corrupt() == 0 ? ExitCode::kOk : ExitCode::kFailed;
  }

 private:
  void Show(const v1::CorruptChunk& chunk) {
    if (as_json_) {
      if (!list_.has_value()) list_.emplace(stdout, "corrupt_chunks");
      list_->Add(ToJson(chunk));
      return;
    }
    bar_.reset();  // it would be drawn into the line; the next message brings it back
    std::printf("bad: space %s, chunk %s: %s\n", chunk.space_id().c_str(), chunk.key_hash().c_str(),
                Printable(chunk.reason()).c_str());
    std::fflush(stdout);
  }

  const bool as_json_;
  std::optional<JsonListWriter> list_;
  std::optional<ProgressBar> bar_;
  v1::VerifyProgress last_;
};

}  // namespace

absl::StatusOr<ExitCode> RunPin(const Invocation& invocation) {
  return ChangeChunks(invocation, &v1::Admin::Stub::Pin, "pinned");
}

absl::StatusOr<ExitCode> RunUnpin(const Invocation& invocation) {
  return ChangeChunks(invocation, &v1::Admin::Stub::Unpin, "unpinned");
}

absl::StatusOr<ExitCode> RunRemove(const Invocation& invocation) {
  return ChangeChunks(invocation, &v1::Admin::Stub::Remove, "removed");
}

absl::StatusOr<ExitCode> RunClear(const Invocation& invocation) {
  AdminClient admin(invocation.address, invocation.timeout);
  ASSIGN_OR_RETURN(std::vector<v1::SpaceStatus> spaces, admin.Spaces());
  v1::ClearRequest request;
  if (invocation.space.all) {
    request.set_all_spaces(true);
  } else {
    ASSIGN_OR_RETURN(const v1::SpaceStatus space, SelectSpace(spaces, invocation.space.id));
    request.set_space_id(space.space_id());
    spaces = {space};
  }
  if (!invocation.yes) {
    if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("this would remove ", Describe(spaces),
                       "; without a terminal to ask on, --yes must say so"));
    }
    if (!Confirmed(absl::StrCat("Remove ", Describe(spaces), "?"))) {
      return absl::CancelledError("nothing was removed");
    }
  }
  ASSIGN_OR_RETURN(const v1::ClearResponse response, admin.Call(&v1::Admin::Stub::Clear, request));
  if (invocation.json) {
    std::fputs(ToText(ToJson(response)).c_str(), stdout);
  } else {
    std::printf("removed %s\n", Chunks(response.removed()).c_str());
  }
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunVerify(const Invocation& invocation) {
  AdminClient admin(invocation.address, invocation.timeout);
  v1::VerifyRequest request;
  ASSIGN_OR_RETURN(*request.mutable_space_id(), FindSpaceIdOrAll(admin, invocation.space.id));
  VerifyReport report(invocation.json);
  const absl::Status status = admin.Verify(
      request, [&report](const v1::VerifyResponse& response) { report.Take(response); });
  return report.Finish(status);
}

}  // namespace larder
