#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tools/ctl/command_line.h"

namespace larder {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Command = Invocation::Command;

absl::StatusOr<Invocation> Parse(const std::vector<std::string>& arguments,
                                 const std::map<std::string, std::string>& environment = {}) {
  return ParseCommandLine(arguments, [&environment](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

std::string ErrorOf(const std::vector<std::string>& arguments) {
  const absl::StatusOr<Invocation> parsed = Parse(arguments);
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status())) << parsed.status();
  return std::string(parsed.status().message());
}

TEST(CtlCommandLine, HasDefaults) {
  const absl::StatusOr<Invocation> parsed = Parse({"status"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->command, Command::kStatus);
  EXPECT_FALSE(parsed->json);
  EXPECT_EQ(parsed->address, "127.0.0.1:7411");
  EXPECT_EQ(parsed->socket_path, "/run/larder/larder.sock");
  EXPECT_EQ(parsed->timeout, absl::Seconds(5));
}

TEST(CtlCommandLine, EachCommandHasItsTime) {
  EXPECT_EQ(Parse({"clear", "--all-spaces"})->timeout, absl::Minutes(5));
  EXPECT_EQ(Parse({"verify"})->timeout, absl::Hours(1));
  EXPECT_EQ(Parse({"verify", "--timeout", "2s"})->timeout, absl::Seconds(2));
  EXPECT_EQ(Parse({"top"})->timeout, absl::Seconds(2));
}

TEST(CtlCommandLine, FlagsOverrideTheEnvironment) {
  const std::map<std::string, std::string> environment = {{"LARDER_ADDRESS", "unix:/a"},
                                                          {"LARDER_SOCKET", "/b"}};
  EXPECT_EQ(Parse({"match", "aa"}, environment)->address, "unix:/a");
  EXPECT_EQ(Parse({"match", "aa"}, environment)->socket_path, "/b");
  EXPECT_EQ(Parse({"match", "aa", "--address", "h:1"}, environment)->address, "h:1");
  EXPECT_EQ(Parse({"match", "aa", "--socket", "/c"}, environment)->socket_path, "/c");
  EXPECT_EQ(Parse({"status"}, {{"LARDER_ADDRESS", ""}})->address, "127.0.0.1:7411");
}

TEST(CtlCommandLine, EveryCommandHasHelpAndJson) {
  const std::vector<std::vector<std::string>> commands = {{"status"},
                                                          {"spaces"},
                                                          {"chunks"},
                                                          {"inspect", "aa"},
                                                          {"match", "aa"},
                                                          {"put", "f", "--key", "aa"},
                                                          {"get", "aa", "-o", "f"},
                                                          {"pin", "aa"},
                                                          {"unpin", "aa"},
                                                          {"remove", "aa"},
                                                          {"clear", "--all-spaces"},
                                                          {"verify"},
                                                          {"drain"},
                                                          {"top"},
                                                          {"version"},
                                                          {"disk", "list", "--path=d"},
                                                          {"disk", "verify", "--path=d"},
                                                          {"disk", "rebuild", "--path=d"},
                                                          {"disk", "retire", "--path=d"}};
  for (std::vector<std::string> command : commands) {
    SCOPED_TRACE(command.front());
    command.emplace_back("--json");
    const absl::StatusOr<Invocation> parsed = Parse(command);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_TRUE(parsed->json);
    EXPECT_NE(parsed->command, Command::kPrintText);
    const absl::StatusOr<Invocation> help = Parse({command.front(), "--help"});
    ASSERT_TRUE(help.ok()) << help.status();
    EXPECT_EQ(help->command, Command::kPrintText);
    EXPECT_THAT(help->text, HasSubstr("larderctl " + command.front()));
  }
}

TEST(CtlCommandLine, DiskCommandsNeedADevice) {
  const absl::StatusOr<Invocation> parsed =
      Parse({"disk", "verify", "--path", "/dev/x", "--metadata", "/m", "--headers-only"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->command, Command::kDiskVerify);
  EXPECT_EQ(parsed->disk.path, "/dev/x");
  EXPECT_EQ(parsed->disk.metadata_directory, "/m");
  EXPECT_TRUE(parsed->disk.headers_only);
  EXPECT_EQ(Parse({"disk", "list", "--path=d"})->command, Command::kDiskList);
  EXPECT_EQ(Parse({"disk", "rebuild", "--path=d"})->command, Command::kDiskRebuild);
  const absl::StatusOr<Invocation> retire =
      Parse({"disk", "retire", "--path=d", "--address=unix:/a", "--timeout=1s"});
  ASSERT_TRUE(retire.ok()) << retire.status();
  EXPECT_EQ(retire->command, Command::kDiskRetire);
  EXPECT_EQ(retire->address, "unix:/a");
  EXPECT_EQ(retire->timeout, absl::Seconds(1));
  ErrorOf({"disk"});
  ErrorOf({"disk", "mend", "--path=d"});
  ErrorOf({"disk", "list", "--path=d", "--headers-only"});
  EXPECT_THAT(ErrorOf({"disk", "list"}), HasSubstr("--path"));
  EXPECT_THAT(ErrorOf({"disk", "list", "--path="}), HasSubstr("--path"));
  EXPECT_THAT(Parse({"disk", "--help"})->text, HasSubstr("rebuild"));
}

TEST(CtlCommandLine, ReadsKeysAndHashes) {
  const absl::StatusOr<Invocation> keys = Parse({"pin", "00ff", "AB"});
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_THAT(keys->keys.keys, ElementsAre(std::string("\x00\xff", 2), "\xab"));
  EXPECT_EQ(keys->keys.size(), 2u);

  const std::string hash = "0123456789ABCDEF0123456789abcdef";
  const absl::StatusOr<Invocation> hashes = Parse({"pin", "--hash", hash});
  ASSERT_TRUE(hashes.ok()) << hashes.status();
  EXPECT_THAT(hashes->keys.hashes, ElementsAre("0123456789abcdef0123456789abcdef"));
  EXPECT_TRUE(hashes->keys.keys.empty());
}

TEST(CtlCommandLine, ReadsWhatPutNeeds) {
  const absl::StatusOr<Invocation> parsed =
      Parse({"put", "f", "--key", "aa", "--key", "bb", "--parent", "cc", "--depth", "3", "--ttl",
             "90s", "--pin", "--manifest", "model=a,b", "--manifest", "layers=2", "--tenant", "t"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->file, "f");
  EXPECT_THAT(parsed->keys.keys, ElementsAre("\xaa", "\xbb"));
  EXPECT_EQ(parsed->parent, "\xcc");
  EXPECT_EQ(parsed->depth, 3u);
  EXPECT_EQ(parsed->ttl, absl::Seconds(90));
  EXPECT_TRUE(parsed->pin);
  EXPECT_THAT(parsed->space.manifest_fields, ElementsAre("model=a,b", "layers=2"));
  EXPECT_EQ(parsed->space.tenant, "t");
  EXPECT_EQ(parsed->codec, "");
  const absl::StatusOr<Invocation> coded =
      Parse({"put", "f", "--key", "aa", "--codec", "larder", "--levels", "2"});
  ASSERT_TRUE(coded.ok()) << coded.status();
  EXPECT_EQ(coded->codec, "larder");
  EXPECT_EQ(coded->levels, 2u);
}

TEST(CtlCommandLine, ChunksAreLimitedUnlessAllAreWanted) {
  EXPECT_EQ(Parse({"chunks"})->limit, 100u);
  EXPECT_EQ(Parse({"chunks", "--limit", "7"})->limit, 7u);
  EXPECT_EQ(Parse({"chunks", "--all"})->limit, std::nullopt);
  EXPECT_THAT(ErrorOf({"chunks", "--all", "--limit", "7"}), HasSubstr("--all"));
  EXPECT_THAT(ErrorOf({"chunks", "--limit", "0"}), HasSubstr("--limit"));
}

TEST(CtlCommandLine, AnEmptyValueIsAValue) {
  const absl::StatusOr<Invocation> parsed =
      Parse({"chunks", "--page-token=", "--space=", "--json"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->page_token, "");
  EXPECT_TRUE(parsed->json);
  EXPECT_THAT(ErrorOf({"status", "--address="}), HasSubstr("--address: is empty"));
}

TEST(CtlCommandLine, SaysWhatMakesNoSense) {
  const std::string key_of_65_bytes(130, 'a');
  EXPECT_THAT(ErrorOf({}), HasSubstr("no command"));
  EXPECT_THAT(ErrorOf({"stauts"}), HasSubstr("stauts: no such command"));
  EXPECT_THAT(ErrorOf({"status", "more"}), HasSubstr("more"));
  EXPECT_THAT(ErrorOf({"inspect"}), HasSubstr("KEY"));
  EXPECT_THAT(ErrorOf({"inspect", "aa", "bb"}), HasSubstr("KEY"));
  EXPECT_THAT(ErrorOf({"inspect", "xy"}), HasSubstr("KEY 'xy': not hexadecimal"));
  EXPECT_THAT(ErrorOf({"inspect", "abc"}), HasSubstr("3 digits"));
  EXPECT_THAT(ErrorOf({"inspect", key_of_65_bytes}), HasSubstr("130 digits"));
  EXPECT_THAT(ErrorOf({"inspect", "--hash", "abcd"}), HasSubstr("a hash has 32 digits"));
  EXPECT_THAT(ErrorOf({"inspect", "aa", "--space", "xy"}), HasSubstr("--space 'xy'"));
  EXPECT_THAT(ErrorOf({"put", "f", "--key", "a"}), HasSubstr("--key 'a'"));
  EXPECT_THAT(ErrorOf({"put", "f", "--key", "aa", "--parent", "q"}), HasSubstr("--parent 'q'"));
  EXPECT_THAT(ErrorOf({"put", "f", "--key", "aa", "--ttl", "5"}), HasSubstr("--ttl"));
  EXPECT_THAT(ErrorOf({"put", "f", "--key", "aa", "--ttl", "0s"}), HasSubstr("--ttl"));
  EXPECT_THAT(ErrorOf({"put", "f", "--key", "aa", "--codec", "zip"}), HasSubstr("--codec"));
  EXPECT_THAT(ErrorOf({"get", "aa"}), HasSubstr("--output"));
  EXPECT_THAT(ErrorOf({"match", "aa", "--space", "aa", "--manifest", "layers=2"}),
              HasSubstr("not both"));
  EXPECT_THAT(ErrorOf({"match", "aa", "--manifest-file", "f", "--manifest", "layers=2"}),
              HasSubstr("not both"));
  EXPECT_THAT(ErrorOf({"clear"}), HasSubstr("--all-spaces"));
  EXPECT_THAT(ErrorOf({"clear", "--space", "aa", "--all-spaces"}), HasSubstr("--all-spaces"));
  EXPECT_THAT(ErrorOf({"status", "--timeout", "0s"}), HasSubstr("--timeout"));
  EXPECT_THAT(ErrorOf({"status", "--timeout", "soon"}), HasSubstr("--timeout"));
  EXPECT_THAT(ErrorOf({"status", "--address", ""}), HasSubstr("--address"));
  EXPECT_THAT(ErrorOf({"top", "--interval", "1ms"}), HasSubstr("--interval"));
}

}  // namespace
}  // namespace larder
