#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "tools/ctl/admin_client.h"
#include "tools/ctl/advise.h"
#include "tools/ctl/cluster_text.h"
#include "tools/ctl/commands.h"
#include "tools/ctl/proto_json.h"
#include "tools/ctl/render.h"
#include "tools/ctl/space_lookup.h"

namespace larder {
namespace {

constexpr uint64_t kChunksPageMax = 1000;

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

AdminClient Connect(const Invocation& invocation) {
  return AdminClient(invocation.address, invocation.timeout);
}

// The keys that the invocation names, in its space.
absl::StatusOr<v1::KeysRequest> KeysOf(AdminClient& admin, const Invocation& invocation) {
  ASSIGN_OR_RETURN(const v1::SpaceStatus space, FindSpace(admin, invocation.space.id));
  v1::KeysRequest request;
  request.set_space_id(space.space_id());
  for (const std::string& key : invocation.keys.keys) request.add_keys(key);
  for (const std::string& hash : invocation.keys.hashes) request.add_key_hashes(hash);
  return request;
}

// Where the listed chunks go: a row or an item each, as they come.
class ChunkPrinter {
 public:
  explicit ChunkPrinter(bool as_json) {
    if (as_json) json_.emplace(stdout, "chunks");
  }

  void Add(const v1::ChunksResponse& page) {
    count_ += static_cast<uint64_t>(page.chunks_size());
    for (const v1::ChunkStatus& chunk : page.chunks()) {
      if (json_.has_value()) {
        json_->Add(ToJson(chunk));
      } else {
        rows_.push_back(chunk);
        // A table at a time, so that a long list takes no memory.
        if (rows_.size() == kChunksPageMax) PrintRows();
      }
    }
  }

  void Finish(const std::string& next_page_token) {
    if (json_.has_value()) {
      json_->Finish({{"next_page_token", next_page_token}});
      return;
    }
    if (!rows_.empty()) PrintRows();
    if (count_ == 0) std::printf("no chunks\n");
    if (!next_page_token.empty()) {
      std::fflush(stdout);
      std::fprintf(stderr, "there may be more: --all, or --page-token %s\n",
                   next_page_token.c_str());
    }
  }

  uint64_t count() const { return count_; }

 private:
  void PrintRows() {
    ChunksTable(rows_).Print(stdout);
    rows_.clear();
  }

  std::optional<JsonListWriter> json_;
  std::vector<v1::ChunkStatus> rows_;
  uint64_t count_ = 0;
};

}  // namespace

absl::StatusOr<ExitCode> RunStatus(const Invocation& invocation) {
  AdminClient admin = Connect(invocation);
  ASSIGN_OR_RETURN(const v1::StatusResponse status,
                   admin.Call(&v1::Admin::Stub::Status, v1::StatusRequest()));
  Print(invocation.json ? ToText(ToJson(status)) : StatusText(status));
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunSpaces(const Invocation& invocation) {
  AdminClient admin = Connect(invocation);
  ASSIGN_OR_RETURN(const std::vector<v1::SpaceStatus> spaces, admin.Spaces());
  if (invocation.json) {
    JsonListWriter writer(stdout, "spaces");
    for (const v1::SpaceStatus& space : spaces) writer.Add(ToJson(space));
    writer.Finish(Json::object());
  } else if (spaces.empty()) {
    std::printf("no spaces\n");
  } else {
    SpacesTable(spaces).Print(stdout);
  }
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunChunks(const Invocation& invocation) {
  AdminClient admin = Connect(invocation);
  v1::ChunksRequest request;
  ASSIGN_OR_RETURN(*request.mutable_space_id(), FindSpaceIdOrAll(admin, invocation.space.id));
  request.set_visible_only(invocation.visible_only);
  request.set_pinned_only(invocation.pinned_only);
  request.set_min_depth(invocation.min_depth);
  request.set_key_hash_prefix(invocation.hash_prefix);
  request.set_page_token(invocation.page_token);
  std::optional<ChunkPrinter> printer;
  for (;;) {
    const uint64_t wanted =
        invocation.limit.value_or(UINT64_MAX) - (printer.has_value() ? printer->count() : 0);
    request.set_page_size(static_cast<uint32_t>(std::min(wanted, kChunksPageMax)));
    ASSIGN_OR_RETURN(const v1::ChunksResponse page, admin.Call(&v1::Admin::Stub::Chunks, request));
    // Not before the first answer: an error leaves standard output empty.
    if (!printer.has_value()) printer.emplace(invocation.json);
    printer->Add(page);
    request.set_page_token(page.next_page_token());
    const bool enough = invocation.limit.has_value() && printer->count() >= *invocation.limit;
    if (page.next_page_token().empty() || enough) break;
  }
  printer->Finish(request.page_token());
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunInspect(const Invocation& invocation) {
  AdminClient admin = Connect(invocation);
  ASSIGN_OR_RETURN(const v1::SpaceStatus space, FindSpace(admin, invocation.space.id));
  v1::InspectRequest request;
  request.set_space_id(space.space_id());
  request.set_verify(invocation.verify);
  if (invocation.keys.keys.empty()) {
    request.set_key_hash(invocation.keys.hashes.front());
  } else {
    request.set_key(invocation.keys.keys.front());
  }
  ASSIGN_OR_RETURN(const v1::InspectResponse response,
                   admin.Call(&v1::Admin::Stub::Inspect, request));
  Print(invocation.json ? ToText(ToJson(response)) : InspectText(response));
  return HasProblem(response) ? ExitCode::kFailed : ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunExplain(const Invocation& invocation) {
  AdminClient admin = Connect(invocation);
  ASSIGN_OR_RETURN(const v1::KeysRequest request, KeysOf(admin, invocation));
  ASSIGN_OR_RETURN(const v1::ExplainResponse response,
                   admin.Call(&v1::Admin::Stub::Explain, request));
  if (invocation.json) {
    Print(ToText(ToJson(response)));
    return ExitCode::kOk;
  }
  for (const v1::Explanation& explanation : response.explanations()) {
    Print(absl::StrCat(explanation.key_hash(), ": ", Printable(explanation.text()), "\n"));
  }
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunCluster(const Invocation& invocation) {
  AdminClient admin = Connect(invocation);
  ASSIGN_OR_RETURN(const v1::ClusterResponse response,
                   admin.Call(&v1::Admin::Stub::Cluster, v1::ClusterRequest()));
  Print(invocation.json ? ToText(ToJson(response)) : ClusterText(response));
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunWhere(const Invocation& invocation) {
  AdminClient admin = Connect(invocation);
  ASSIGN_OR_RETURN(const v1::KeysRequest request, KeysOf(admin, invocation));
  ASSIGN_OR_RETURN(const v1::WhereResponse response, admin.Call(&v1::Admin::Stub::Where, request));
  Print(invocation.json ? ToText(ToJson(response)) : WhereText(response));
  const bool all = std::all_of(response.chunks().begin(), response.chunks().end(),
                               [](const auto& chunk) { return chunk.holders_size() > 0; });
  return all ? ExitCode::kOk : ExitCode::kFailed;
}

absl::StatusOr<ExitCode> RunAdvise(const Invocation& invocation) {
  AdminClient admin = Connect(invocation);
  ASSIGN_OR_RETURN(const v1::InsightResponse insight,
                   admin.Call(&v1::Admin::Stub::Insight, v1::InsightRequest()));
  if (invocation.json) {
    Json json = ToJson(insight);
    json["advice"] = Advice(insight);
    Print(ToText(json));
  } else {
    Print(AdviseText(insight));
  }
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunDrain(const Invocation& invocation) {
  AdminClient admin = Connect(invocation);
  RETURN_IF_ERROR(admin.Call(&v1::Admin::Stub::Drain, v1::DrainRequest()).status());
  Print(invocation.json ? ToText({{"draining", true}})
                        : "the daemon takes no new clients and chunks, and ends when nothing is "
                          "being written\n");
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunVersion(const Invocation& invocation) {
  AdminClient admin = Connect(invocation);
  const absl::StatusOr<v1::StatusResponse> status =
      admin.Call(&v1::Admin::Stub::Status, v1::StatusRequest());
  if (invocation.json) {
    Print(ToText({{"larderctl", LARDER_VERSION},
                  {"larderd", status.ok() ? Json(status->version()) : Json(nullptr)}}));
    return ExitCode::kOk;
  }
  // The program's own version is there with or without a daemon.
  std::printf("larderctl %s\n", LARDER_VERSION);
  if (status.ok()) {
    std::printf("larderd %s at %s\n", Printable(status->version()).c_str(),
                invocation.address.c_str());
  } else {
    std::printf("larderd: %s\n", std::string(status.status().message()).c_str());
  }
  return ExitCode::kOk;
}

}  // namespace larder
