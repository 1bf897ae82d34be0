// larderctl against real daemons: what an operator does by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/known_chunks.h"

namespace larder {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr char kKeyA[] = "a0a0", kKeyB[] = "b1b1", kKeyC[] = "c2c2", kKeyMissing[] = "dead";

struct Ended {
  std::string end;  // "exit 0"
  std::string output;

  Json json() const { return Json::parse(output, nullptr, /*allow_exceptions=*/false); }
};

std::string ReadAll(const std::string& path) {
  std::ostringstream contents;
  contents << std::ifstream(path, std::ios::binary).rdbuf();
  return contents.str();
}

// A daemon with gRPC on a socket of its own, and larderctl aimed at it.
class Target {
 public:
  Target() : daemon_(directory_.path(), {.flags = {"--grpc-listen=" + address()}}) {}

  void Start() {
    daemon_.Start();
    ASSERT_TRUE(Eventually([this] { return Run({"status"}).end == "exit 0"; }))
        << daemon_.process().Output();
  }

  Ended Run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), LARDERCTL_PATH);
    arguments.push_back("--address=" + address());
    return RunPlain(arguments);
  }

  // For the commands on the path of engines.
  Ended RunStore(std::vector<std::string> arguments) const {
    arguments.push_back("--socket=" + daemon_.socket_path());
    return Run(std::move(arguments));
  }

  static Ended RunPlain(const std::vector<std::string>& arguments) {
    const std::unique_ptr<ChildProcess> process = ChildProcess::Start(arguments);
    const std::optional<std::string> end = process->WaitForEnd();
    return {end.value_or("hangs"), process->Output()};
  }

  std::string address() const { return absl::StrCat("unix:", directory_.path(), "/grpc.sock"); }
  std::string path(const std::string& name) const {
    return absl::StrCat(directory_.path(), "/", name);
  }
  DaemonProcess& daemon() { return daemon_; }

 private:
  SharedDirectory directory_;
  DaemonProcess daemon_;
};

class CtlTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(target_.Start()); }

  // A file with the payload of `chunks` different chunks.
  std::string MakePayload(size_t chunks) {
    payload_.clear();
    KnownBuffers buffers(chunks, manifest_);
    buffers.Fill(KnownKeys(1, chunks));
    for (const GatherList& source : buffers.sources(chunks)) {
      payload_.append(reinterpret_cast<const char*>(source[0].data), source[0].size);
    }
    std::string path = target_.path("payload");
    std::ofstream(path, std::ios::binary) << payload_;
    return path;
  }

  // Puts three chunks, each the parent of the next, in a space of the manifest.
  void PutChain() {
    std::vector<std::string> arguments = {"put", MakePayload(3), "--key", kKeyA,   "--key",
                                          kKeyB, "--key",        kKeyC,   "--json"};
    for (const char* field : {"model=known-chunks", "element_type=bfloat16", "kind=key_value",
                              "layers=4", "heads=4", "head_dim=16", "tokens_per_chunk=64"}) {
      arguments.push_back(absl::StrCat("--manifest=", field));
    }
    const Ended put = target_.RunStore(arguments);
    ASSERT_EQ(put.end, "exit 0") << put.output;
    ASSERT_EQ(put.json()["stored"], 3) << put.output;
  }

  std::string ChunkPayload(size_t index) const {
    const size_t bytes = manifest_.PayloadBytes(manifest_.WholePart());
    return payload_.substr(index * bytes, bytes);
  }

  // Breaks one byte of a stored chunk's payload in the arena.
  void Damage(const char* key) {
    const Json inspected = target_.Run({"inspect", key, "--json"}).json();
    const uint64_t offset = inspected["containers"][0]["arena_offset"].get<uint64_t>() +
                            inspected["containers"][0]["header"]["body_offset"].get<uint64_t>();
    std::fstream arena(target_.path("arena/data"), std::ios::binary | std::ios::in | std::ios::out);
    arena.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(arena.get() ^ 1);
    arena.seekp(static_cast<std::streamoff>(offset));
    arena.put(byte);
    ASSERT_TRUE(arena.flush().good());
  }

  const Manifest manifest_ = KnownManifest();
  Target target_;
  std::string payload_;
};

TEST(CtlWithoutDaemon, EveryCommandSaysSo) {
  const SharedDirectory directory;
  const std::string nowhere = absl::StrCat(directory.path(), "/none");
  const std::vector<std::vector<std::string>> commands = {{"status"},
                                                          {"spaces"},
                                                          {"chunks"},
                                                          {"inspect", "aa"},
                                                          {"match", "aa"},
                                                          {"drain"},
                                                          {"pin", "aa"},
                                                          {"unpin", "aa"},
                                                          {"remove", "aa"},
                                                          {"clear", "--all-spaces"},
                                                          {"verify"},
                                                          {"top"},
                                                          {"put", "f", "--key", "aa"},
                                                          {"get", "aa", "-o", nowhere}};
  for (std::vector<std::string> command : commands) {
    SCOPED_TRACE(command.front());
    command.insert(command.begin(), LARDERCTL_PATH);
    command.push_back(absl::StrCat("--address=unix:", nowhere));
    const Ended ended = Target::RunPlain(command);
    EXPECT_EQ(ended.end, "exit 3");
    EXPECT_THAT(ended.output, HasSubstr("larderctl: no daemon at unix:" + nowhere));
  }
  EXPECT_FALSE(std::filesystem::exists(nowhere));
  EXPECT_EQ(Target::RunPlain({LARDERCTL_PATH, "status", "--adress=x"}).end, "exit 2");
}

TEST_F(CtlTest, WhatIsPutComesBackAsItWas) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  const std::vector<const char*> keys = {kKeyA, kKeyB, kKeyC};
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::string out = target_.path("out");
    const Ended got = target_.RunStore({"get", keys[i], "-o", out});
    EXPECT_EQ(got.end, "exit 0") << got.output;
    EXPECT_TRUE(ReadAll(out) == ChunkPayload(i)) << keys[i];
  }
  EXPECT_TRUE(target_.RunStore({"get", kKeyC, "-o", "-"}).output == ChunkPayload(2));

  const Json match = target_.RunStore({"match", kKeyA, kKeyB, kKeyC, kKeyMissing, "--json"}).json();
  EXPECT_EQ(match["chunks"], 3) << match;
  EXPECT_EQ(match["tokens"], 3 * 64) << match;

  const Json chunks = target_.Run({"chunks", "--min-depth=2", "--json"}).json();
  ASSERT_EQ(chunks["chunks"].size(), 1u) << chunks;
  const std::string hash = chunks["chunks"][0]["key_hash"];
  const Ended by_hash = target_.RunStore({"get", "--hash", hash, "-o", "-"});
  EXPECT_TRUE(by_hash.output == ChunkPayload(2));

  const Json inspected = target_.Run({"inspect", kKeyB, "--verify", "--json"}).json();
  EXPECT_EQ(inspected["key"], kKeyB);
  EXPECT_EQ(inspected["chunk"]["depth"], 1);
  EXPECT_EQ(inspected["containers"][0]["verified"], true);
}

TEST_F(CtlTest, AManifestCanBeTakenFromTheListOfSpaces) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  const Json space = target_.Run({"spaces", "--json"}).json()["spaces"][0];
  const std::string file = target_.path("manifest.json");
  std::ofstream(file) << space["description"]["manifest"];
  const Json match = target_.RunStore({"match", kKeyA, "--manifest-file", file, "--json"}).json();
  EXPECT_EQ(match["space_id"], space["space_id"]);
  EXPECT_EQ(match["chunks"], 1);
}

TEST_F(CtlTest, ThePutsOfASpaceFollowItsManifestAlsoAfterARestart) {
  const std::string payload = MakePayload(1);
  std::vector<std::string> first = {"put", payload, "--key", kKeyA, "--json"};
  // As many bytes as the payload's manifest, in heads that codecs take.
  for (const char* field : {"model=coded", "element_type=bfloat16", "kind=key_value", "layers=4",
                            "heads=1", "head_dim=64", "tokens_per_chunk=64", "codec=lossless"}) {
    first.push_back(absl::StrCat("--manifest=", field));
  }
  const Ended put = target_.RunStore(first);
  ASSERT_EQ(put.end, "exit 0") << put.output;
  EXPECT_THAT(target_.Run({"spaces"}).output, HasSubstr("lossless"));

  target_.daemon().Kill();
  ASSERT_NO_FATAL_FAILURE(target_.Start());
  ASSERT_EQ(target_.RunStore({"put", payload, "--key", kKeyB}).end, "exit 0");
  ASSERT_EQ(target_.RunStore({"put", payload, "--key", kKeyC, "--codec=larder", "--levels=2"}).end,
            "exit 0");
  const auto form = [&](const char* key) {
    const Json header = target_.Run({"inspect", key, "--json"}).json()["containers"][0]["header"];
    return absl::StrCat(header["codec"].get<int>(), " ", header["level_count"].get<int>());
  };
  EXPECT_EQ(form(kKeyA), "2 1");
  EXPECT_EQ(form(kKeyB), "2 1");
  EXPECT_EQ(form(kKeyC), "3 2");
  EXPECT_TRUE(target_.RunStore({"get", kKeyB, "-o", "-"}).output == ChunkPayload(0));

  const Ended refused = target_.RunStore({"put", payload, "--key", kKeyMissing, "--levels=2"});
  EXPECT_EQ(refused.end, "exit 2");
  EXPECT_THAT(refused.output, HasSubstr("levels is 2, codec lossless has 1"));
}

TEST_F(CtlTest, PinsAndRemovesWhatItIsTold) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  EXPECT_EQ(target_.Run({"pin", kKeyA, kKeyB}).end, "exit 0");
  EXPECT_EQ(target_.Run({"chunks", "--pinned", "--json"}).json()["chunks"].size(), 2u);
  EXPECT_EQ(target_.Run({"unpin", kKeyA}).end, "exit 0");
  EXPECT_EQ(target_.Run({"chunks", "--pinned", "--json"}).json()["chunks"].size(), 1u);

  const Ended removed = target_.Run({"remove", kKeyC, kKeyMissing, "--json"});
  EXPECT_EQ(removed.end, "exit 1");  // one of them was not there
  EXPECT_EQ(removed.json()["found"], 1);
  EXPECT_EQ(target_.RunStore({"match", kKeyA, kKeyB, kKeyC, "--json"}).json()["chunks"], 2);
}

TEST_F(CtlTest, SaysOfChunksWhatIsToComeAndWhyTheyAreGone) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  const Ended hint = target_.RunStore({"hint", kKeyA, kKeyB, "--keep=24h", "--json"});
  EXPECT_EQ(hint.end, "exit 0") << hint.output;
  EXPECT_EQ(hint.json()["found"], 2) << hint.output;
  EXPECT_EQ(hint.json()["clipped"], 2) << "not for as long as that";
  EXPECT_EQ(target_.RunStore({"hint", kKeyA, "--keep=1s", "--no-next-use"}).end, "exit 2");
  EXPECT_EQ(target_.RunStore({"hint", kKeyA}).end, "exit 2");

  ASSERT_EQ(target_.Run({"remove", kKeyC}).end, "exit 0");
  const Ended explained = target_.Run({"explain", kKeyA, kKeyC, kKeyMissing, "--json"});
  ASSERT_EQ(explained.end, "exit 0") << explained.output;
  const Json list = explained.json()["explanations"];
  ASSERT_EQ(list.size(), 3u) << explained.output;
  EXPECT_EQ(list[0]["state"], "stored");
  EXPECT_EQ(list[1]["state"], "gone");
  EXPECT_EQ(list[1]["reason"], "removed");
  EXPECT_EQ(list[2]["state"], "unknown");
  EXPECT_THAT(target_.Run({"explain", kKeyC}).output, HasSubstr("a caller removed it"));
  EXPECT_EQ(target_.Run({"status", "--json"}).json()["hints_clipped"], 2);
}

TEST_F(CtlTest, AMissLeavesNoFile) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  const std::string out = target_.path("out");
  const Ended got = target_.RunStore({"get", kKeyMissing, "-o", out});
  EXPECT_EQ(got.end, "exit 1");
  EXPECT_THAT(got.output, HasSubstr("chunk dead is not stored"));
  EXPECT_FALSE(std::filesystem::exists(out));
  EXPECT_EQ(target_.Run({"inspect", kKeyMissing}).end, "exit 1");
  EXPECT_EQ(target_.RunStore({"get", kKeyA, "-o", target_.path("none/out")}).end, "exit 1");
}

TEST_F(CtlTest, AFileOfAnotherSizeIsNotStored) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  const std::string three = MakePayload(3);
  const Ended put = target_.RunStore({"put", three, "--key", "e0e0", "--key", "e1e1"});
  EXPECT_EQ(put.end, "exit 2");
  EXPECT_THAT(put.output, HasSubstr("2 keys of 65536 bytes a chunk need 131072"));
  EXPECT_EQ(target_.RunStore({"match", "e0e0", "--json"}).json()["chunks"], 0);
}

TEST_F(CtlTest, VerifyFindsDamage) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  EXPECT_EQ(target_.Run({"verify"}).end, "exit 0");
  ASSERT_NO_FATAL_FAILURE(Damage(kKeyB));
  const std::string hash = target_.Run({"inspect", kKeyB, "--json"}).json()["chunk"]["key_hash"];
  const Ended verified = target_.Run({"verify", "--json"});
  EXPECT_EQ(verified.end, "exit 1");
  const Json report = verified.json();
  ASSERT_EQ(report["corrupt_chunks"].size(), 1u) << report;
  EXPECT_EQ(report["corrupt_chunks"][0]["key_hash"], hash);
  EXPECT_EQ(report["chunks"], 3);
  // It was taken away, so that nobody can be given it.
  EXPECT_EQ(target_.Run({"verify"}).end, "exit 0");
  EXPECT_EQ(target_.RunStore({"get", kKeyB, "-o", target_.path("out")}).end, "exit 1");
}

TEST_F(CtlTest, GetAndInspectRefuseDamage) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  ASSERT_NO_FATAL_FAILURE(Damage(kKeyA));
  const Ended inspected = target_.Run({"inspect", kKeyA, "--verify"});
  EXPECT_EQ(inspected.end, "exit 1");
  EXPECT_THAT(inspected.output, HasSubstr("CRC32C"));
  ASSERT_NO_FATAL_FAILURE(Damage(kKeyC));
  const std::string out = target_.path("out");
  EXPECT_EQ(target_.RunStore({"get", kKeyC, "-o", out}).end, "exit 1");
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(CtlTest, ClearsOnlyWhenSureToBeMeant) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  const Ended unsure = target_.Run({"clear", "--all-spaces"});
  EXPECT_EQ(unsure.end, "exit 2");
  EXPECT_THAT(unsure.output, HasSubstr("would remove 3 chunks"));
  const Ended cleared = target_.Run({"clear", "--all-spaces", "--yes", "--json"});
  EXPECT_EQ(cleared.end, "exit 0");
  EXPECT_EQ(cleared.json()["removed"], 3);
  EXPECT_EQ(target_.Run({"status", "--json"}).json()["chunks"], 0);
}

TEST_F(CtlTest, ListsEveryChunkOnceWhateverThePages) {
  constexpr size_t kChunks = 250;
  const std::unique_ptr<Client> client = ConnectClient(target_.daemon().socket_path());
  ClientSpace space = *client->Open(manifest_);
  KnownBuffers buffers(kChunks, manifest_);
  const std::vector<Sha256Digest> keys = KnownKeys(2, kChunks);
  buffers.Fill(keys);
  ASSERT_EQ(space.Put(keys, buffers.sources(kChunks)).stored, kChunks);

  std::set<std::string> hashes;
  std::string token;
  int pages = 0;
  do {
    const Json page =
        target_.Run({"chunks", "--json", "--limit=100", "--page-token=" + token}).json();
    ASSERT_LE(page["chunks"].size(), 100u);
    for (const Json& chunk : page["chunks"]) hashes.insert(chunk["key_hash"]);
    token = page["next_page_token"];
  } while (!token.empty() && ++pages < 10);
  EXPECT_EQ(hashes.size(), kChunks);
  EXPECT_EQ(target_.Run({"chunks", "--json", "--all"}).json()["chunks"].size(), kChunks);
  EXPECT_EQ(target_.Run({"chunks", "--page-token=zz"}).end, "exit 2");
}

TEST_F(CtlTest, TopShowsRates) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  const Ended top = target_.Run({"top", "--json", "--interval=100ms"});
  EXPECT_EQ(top.end, "exit 0") << top.output;
  EXPECT_GE(top.json()["interval_ms"], 100);
  EXPECT_EQ(top.json()["chunks"], 3);
  EXPECT_EQ(top.json()["spaces"].size(), 1u);
  // Without a terminal there is one sample and no escapes.
  const Ended text = target_.Run({"top", "--interval=100ms"});
  EXPECT_EQ(text.end, "exit 0");
  EXPECT_THAT(text.output, HasSubstr("known-chunks"));
  EXPECT_THAT(text.output, Not(HasSubstr("\x1b")));
}

TEST_F(CtlTest, TwoDaemonsAreNotTakenForOne) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  Target other;
  ASSERT_NO_FATAL_FAILURE(other.Start());
  const Ended match = target_.Run({"match", kKeyA, "--socket=" + other.daemon().socket_path()});
  EXPECT_EQ(match.end, "exit 2");
  EXPECT_THAT(match.output, HasSubstr("is not the one at"));
  EXPECT_EQ(other.Run({"spaces", "--json"}).json()["spaces"].size(), 0u);
}

TEST_F(CtlTest, AFrozenDaemonDoesNotHangIt) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  target_.daemon().process().Freeze();
  const Ended status = target_.Run({"status", "--timeout=200ms"});
  EXPECT_EQ(status.end, "exit 3");
  EXPECT_THAT(status.output, HasSubstr("no daemon answers"));
  target_.daemon().process().Thaw();
  EXPECT_EQ(target_.Run({"status"}).end, "exit 0");
}

TEST_F(CtlTest, DrainEndsTheDaemon) {
  ASSERT_NO_FATAL_FAILURE(PutChain());
  const Ended drained = target_.Run({"drain", "--json"});
  EXPECT_EQ(drained.end, "exit 0");
  EXPECT_EQ(drained.json()["draining"], true);
  EXPECT_EQ(target_.daemon().process().WaitForEnd(), "exit 0");
  // Its chunks outlive it.
  ASSERT_NO_FATAL_FAILURE(target_.Start());
  EXPECT_EQ(target_.Run({"status", "--json"}).json()["chunks"], 3);
  EXPECT_EQ(target_.Run({"verify"}).end, "exit 0");
}

}  // namespace
}  // namespace larder
