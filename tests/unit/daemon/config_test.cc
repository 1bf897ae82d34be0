#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/random.h"
#include "daemon/config/command_line.h"
#include "daemon/config/config_reader.h"
#include "daemon/config/reference.h"
#include "daemon/config/setting.h"

namespace larder {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

ConfigReader Read(absl::string_view text) {
  ConfigReader reader;
  reader.ReadText(text, "f");
  reader.CheckTogether();
  return reader;
}

// Each setting as text: what two configurations are compared by.
std::vector<std::string> Values(const Config& config) {
  std::vector<std::string> values;
  for (const Setting& setting : Settings()) {
    values.push_back(absl::StrCat(setting.name, " = ", FormatSetting(setting, config)));
  }
  return values;
}

TEST(Settings, AreWellFormed) {
  std::set<absl::string_view> names, sections, flags;
  absl::string_view section;
  for (const Setting& setting : Settings()) {
    SCOPED_TRACE(setting.name);
    EXPECT_TRUE(names.insert(setting.name).second);
    EXPECT_EQ(std::count(setting.name.begin(), setting.name.end(), '.'), 1);
    const absl::string_view own = setting.name.substr(0, setting.name.find('.'));
    EXPECT_EQ(sections.insert(own).second, own != section) << "sections must be together";
    section = own;
    EXPECT_TRUE(setting.flag.empty() || flags.insert(setting.flag).second);
    EXPECT_FALSE(setting.doc.empty());
    EXPECT_EQ(FindSetting(setting.name), &setting);
    EXPECT_EQ(setting.kind == SettingKind::kChoice, !setting.choices.empty());
  }
}

TEST(Settings, DefaultsAreWithinTheirOwnBounds) {
  ConfigReader reader;
  reader.CheckTogether();
  EXPECT_THAT(reader.problems(), IsEmpty());
}

TEST(Reference, ParsesToTheDefaults) {
  const std::string text = ReferenceFile(DefaultConfig());
  const ConfigReader reader = Read(text);
  EXPECT_THAT(reader.problems(), IsEmpty());
  EXPECT_EQ(Values(reader.config()), Values(DefaultConfig()));
  for (const Setting& setting : Settings()) {
    const absl::string_view key = setting.name.substr(setting.name.find('.') + 1);
    EXPECT_THAT(text, HasSubstr(absl::StrCat("\n", key, " = "))) << setting.name;
  }
}

// No setting has its default here.
constexpr char kOtherValues[] = R"([arena]
directory = "/dev/shm/it's \"other\""
bytes = "3GiB"
granule = 65536
blocks_max = 77
huge_pages = "require"
prefault = false
[local]
socket = "/tmp/x.sock"
mode = "0666"
group = "root"
allowed_users = ["root", 12, "34"]
allow_any_user = true
handshake_timeout = "7s"
session_timeout = "1h"
heartbeat_interval = "1.5s"
ring_bytes = "1MiB"
spin = "0"
[core]
pinned_fraction_max = 0.25
reservation_ttl_max = "5m"
sessions_max = 11
spaces_max = 12
leases_per_session_max = 13
reservations_per_session_max = 14
[policy]
order = "lru"
attention_equals_rest_tokens = 1000.5
tenants = ["acme memory=1GiB..2GiB disk=..20GiB", "lab"]
hint_keep_max = "1m"
hint_fraction_max = 0.5
explain_records = 15
drop_levels = "finest-first"
levels_min = 3
[disk]
paths = "/a,/dev/b:/c"
capacity = "1GiB"
segment = "8MiB"
mode = "read-only"
admission = "second-sight"
ready_fraction = 0.125
owner = "node-7"
engine = "threads"
write_bytes_per_day = "5GiB"
io_timeout = "3s"
[cluster]
name = "c"
node = "n"
secret_file = "/s"
listen = "[::1]:1"
advertise = "a:1"
rpc_advertise = "a:2"
peers = "b:1,c:1"
etcd = "e:1"
etcd_prefix = "/p/"
etcd_user = "u"
etcd_password_file = "/w"
etcd_ca_file = "/ca"
etcd_certificate_file = "/cert"
etcd_key_file = "/key"
lease_ttl = "20s"
member_timeout = "7s"
fetch_timeout = "2s"
connections = 3
send_file = true
engine = "epoll"
directory = true
event_log = 2048
index_entries_max = 5000
[grpc]
listen = "unix:/run/larder/grpc.sock"
profiles = "/p1,/p2"
[metrics]
listen = "[::1]:9000"
[log]
level = "debug"
[drain]
timeout = "0"
)";

// Every setting takes another value, survives the way through the reference, and only it changes.
TEST(Reference, KeepsValuesThatAreNotTheDefaults) {
  ConfigReader reader = Read(kOtherValues);
  ASSERT_THAT(reader.problems(), IsEmpty());
  const Config& config = reader.config();
  EXPECT_EQ(config.node.cluster.etcd, "e:1");
  EXPECT_EQ(config.node.cluster.core.fetch_timeout, absl::Seconds(2));
  EXPECT_EQ(config.node.arena.directory, "/dev/shm/it's \"other\"");
  EXPECT_EQ(config.node.arena.data_bytes, uint64_t{3} << 30);
  EXPECT_EQ(config.node.arena.huge_pages, HugePages::kRequire);
  EXPECT_EQ(config.node.local.listen.mode, 0666u);
  EXPECT_THAT(config.node.local.allowed_users, ElementsAre(0, 12, 34));
  EXPECT_EQ(config.node.local.heartbeat_interval, absl::Milliseconds(1500));
  EXPECT_EQ(config.node.spin_limit, absl::ZeroDuration());
  const std::vector<std::string> values = Values(config), defaults = Values(DefaultConfig());
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NE(values[i], defaults[i]);

  const ConfigReader again = Read(ReferenceFile(config));
  EXPECT_THAT(again.problems(), IsEmpty());
  EXPECT_EQ(Values(again.config()), values);
}

TEST(ConfigReader, EmptyTextIsTheDefaults) {
  const ConfigReader reader = Read("");
  EXPECT_THAT(reader.problems(), IsEmpty());
  EXPECT_EQ(Values(reader.config()), Values(DefaultConfig()));
}

TEST(ConfigReader, NamesEveryProblemInTheOrderOfTheLines) {
  const ConfigReader reader = Read(R"(stray = 1
[local]
socket = 7
spin = "2s"
[core]
sessions_max = 0
[arena]
byte = "1GiB"
[grcp]
listen = ""
)");
  EXPECT_THAT(reader.problems(),
              ElementsAre(StartsWith("f:1: stray: "), StartsWith("f:3: local.socket: "),
                          StartsWith("f:4: local.spin: "), StartsWith("f:6: core.sessions_max: "),
                          StartsWith("f:8: arena.byte: "), StartsWith("f:9: grcp: ")));
}

TEST(ConfigReader, SuggestsTheNearestName) {
  const auto problem = [](absl::string_view text) { return Read(text).problems().at(0); };
  EXPECT_THAT(problem("[arena]\nbyte = 1"), HasSubstr("did you mean \"arena.bytes\"?"));
  EXPECT_THAT(problem("[arena]\nhugepages = 1"), HasSubstr("did you mean \"arena.huge_pages\"?"));
  EXPECT_THAT(problem("[core]\nring_bytes = 1"), HasSubstr("did you mean \"local.ring_bytes\"?"));
  EXPECT_THAT(problem("[metric]\nx = 1"), HasSubstr("did you mean \"metrics\"?"));
  EXPECT_THAT(problem("[arena]\ncolour = 1"), Not(HasSubstr("did you mean")));
  EXPECT_THAT(problem("[somewhere]\nx = 1"), Not(HasSubstr("did you mean")));
}

TEST(Tenants, GuaranteesFitTheTiers) {
  const auto problem = [](const std::string& tenant) {
    const ConfigReader reader = Read(absl::StrCat("[policy]\ntenants = [\"", tenant, "\"]\n"));
    return reader.problems().empty() ? "" : reader.problems()[0];
  };
  EXPECT_THAT(problem("acme memory=900TiB.."), HasSubstr("exceed the arena's"));
  EXPECT_THAT(problem("acme disk=900TiB.."), HasSubstr("half of the disk tier"));
  EXPECT_EQ(problem("acme memory=1GiB.. disk=32GiB.."), "");
  // 2^63 bytes each: their sum is 0 modulo 2^64.
  EXPECT_THAT(problem("acme memory=8388608TiB..\", \"lab memory=8388608TiB.."),
              HasSubstr("exceed the arena's"));
}

struct BadValue {
  const char* setting;
  const char* value;  // as TOML
  const char* said;
};

class BadValues : public ::testing::TestWithParam<BadValue> {};

TEST_P(BadValues, AreNamedWithTheirLineAndChangeNothing) {
  const auto [setting, value, said] = GetParam();
  const std::vector<std::string> name = absl::StrSplit(setting, '.');
  const ConfigReader reader =
      Read(absl::StrCat("\n[", name[0], "]\n\n", name[1], " = ", value, "\n"));
  EXPECT_THAT(reader.problems(), ElementsAre(AllOf(StartsWith(absl::StrCat("f:4: ", setting, ": ")),
                                                   HasSubstr(said))));
  EXPECT_EQ(Values(reader.config()), Values(DefaultConfig()));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadValues,
    ::testing::Values(
        // Of another type.
        BadValue{"arena.prefault", "\"true\"", "must be true or false"},
        BadValue{"arena.prefault", "1", "must be true or false"},
        BadValue{"core.sessions_max", "\"12\"", "must be a whole number"},
        BadValue{"core.sessions_max", "1.5", "must be a whole number"},
        BadValue{"core.pinned_fraction_max", "\"0.5\"", "must be a number"},
        BadValue{"local.spin", "5", "must be a duration"},
        BadValue{"local.mode", "0o660", "must be four octal digits"},
        BadValue{"local.allowed_users", "\"root\"", "must be a list"},
        BadValue{"local.allowed_users", "[1.5]", "must be a list"},
        BadValue{"policy.tenants", "\"acme\"", "must be a list"},
        BadValue{"policy.tenants", "[\"acme mem=1..2\"]", "neither memory= nor disk="},
        BadValue{"policy.tenants", "[\"acme memory=1\"]", "no \"..\""},
        BadValue{"policy.tenants", "[\"acme memory=x..\"]", "is not a size"},
        BadValue{"policy.tenants", "[\"acme memory=2..1\"]", "below what is guaranteed"},
        BadValue{"policy.tenants", "[\"a\", \"a\"]", "is there twice"},
        BadValue{"policy.tenants", "[\"acme memory=1PiB..\"]", "is not a size"},
        BadValue{"policy.order", "\"arc\"", "is none of learned, lru"},
        BadValue{"local.allowed_users", "[\"a,b\"]", "must be a list"},
        BadValue{"log.level", "true", "must be text"},
        BadValue{"arena.bytes", "1979-05-27", "is a date or time"},
        BadValue{"arena.bytes", "{x = 1}", "is a section"},
        // Malformed.
        BadValue{"arena.bytes", "\"12GB\"", "not a size"},
        BadValue{"arena.bytes", "\"1.5GiB\"", "not a size"},
        BadValue{"arena.bytes", "\"\"", "not a size"},
        BadValue{"arena.bytes", "\"GiB\"", "not a size"},
        BadValue{"arena.bytes", "-1", "not a size"},
        BadValue{"arena.bytes", "\"99999999999999999999\"", "not a size"},
        BadValue{"local.spin", "\"5\"", "not a duration"},
        BadValue{"local.spin", "\"5 s\"", "not a duration"},
        BadValue{"local.mode", "\"660\"", "not a mode"},
        BadValue{"local.mode", "\"0888\"", "not a mode"},
        BadValue{"local.mode", "\"0060\"", "must include 0600"},
        BadValue{"arena.huge_pages", "\"always\"", "none of never, auto, require"},
        BadValue{"log.level", "\"trace\"", "none of debug, info, warning, error"},
        BadValue{"local.allowed_users", "[\"no-such-user\"]", "no user \"no-such-user\""},
        BadValue{"local.allowed_users", "[4294967295]", "larger than any user's number"},
        BadValue{"local.allowed_users", "[-1]", "no user"},
        BadValue{"local.socket", "\"/a\\nb\"", "control characters"},
        BadValue{"grpc.listen", "\"7411\"", "not an address"},
        BadValue{"grpc.listen", "\":7411\"", "not an address"},
        BadValue{"grpc.listen", "\"::1:7411\"", "not an address"},
        BadValue{"grpc.listen", "\"localhost:http\"", "the port"},
        BadValue{"grpc.listen", "\"localhost:65536\"", "the port"},
        BadValue{"grpc.listen", "\"unix:relative\"", "not an address"},
        BadValue{"metrics.listen", "\"unix:/tmp/x\"", "not an address"},
        // Out of bounds.
        BadValue{"arena.bytes", "\"15MiB\"", "15MiB is out of bounds: from 16MiB to 1024TiB"},
        BadValue{"arena.bytes", "\"1025TiB\"", "out of bounds"},
        BadValue{"arena.bytes", "\"16777216TiB\"", "larger than any size"},
        BadValue{"arena.granule", "5000", "not a power of two"},
        BadValue{"arena.granule", "2048", "out of bounds"},
        BadValue{"local.ring_bytes", "\"768KiB\"", "not a power of two"},
        BadValue{"local.ring_bytes", "\"8GiB\"", "out of bounds"},
        BadValue{"core.sessions_max", "0", "out of bounds: from 1 to"},
        BadValue{"core.sessions_max", "4294967297", "out of bounds: from 1 to"},
        BadValue{"core.pinned_fraction_max", "1.01", "out of bounds: from 0 to 1"},
        BadValue{"core.pinned_fraction_max", "nan", "out of bounds"},
        BadValue{"local.spin", "\"-1us\"", "out of bounds: from 0 to 1s"},
        BadValue{"local.session_timeout", "\"inf\"", "out of bounds"}));

TEST(ConfigReader, SettingsMustFitTogether) {
  EXPECT_THAT(Read("[arena]\nbytes = 16777217").problems(),
              ElementsAre(AllOf(StartsWith("f:2: arena.bytes: "), HasSubstr("multiple"))));
  EXPECT_THAT(Read("[local]\n\nheartbeat_interval = \"15s\"").problems(),
              ElementsAre(StartsWith("f:3: local.heartbeat_interval: ")));
  EXPECT_THAT(Read("[local]\nsession_timeout = \"2s\"").problems(),
              ElementsAre(StartsWith("f:2: local.session_timeout: ")));
  EXPECT_THAT(Read("[local]\nheartbeat_interval = \"10s\"").problems(), IsEmpty());
  EXPECT_THAT(Read("[local]\nsocket = \"larder.sock\"").problems(),
              ElementsAre(HasSubstr("does not begin with /")));
  EXPECT_THAT(Read(absl::StrCat("[local]\nsocket = \"/", std::string(107, 'x'), "\"")).problems(),
              ElementsAre(HasSubstr("has 108 bytes, the system allows 107")));
  EXPECT_THAT(Read("[arena]\ndirectory = \"\"").problems(),
              ElementsAre(StartsWith("f:2: arena.directory: ")));
  EXPECT_THAT(Read("[local]\ngroup = \"no-such-group\"").problems(),
              ElementsAre(StartsWith("f:2: local.group: ")));
  EXPECT_THAT(Read("[grpc]\nlisten = \"h:1\"\n[metrics]\nlisten = \"h:1\"").problems(),
              ElementsAre(StartsWith("f:4: metrics.listen: ")));
  EXPECT_THAT(Read("[grpc]\nlisten = \"h:0\"\n[metrics]\nlisten = \"h:0\"").problems(), IsEmpty());
}

TEST(ConfigReader, SaysWhereTextIsNoToml) {
  EXPECT_THAT(Read("[arena]\nbytes = 1\nbytes = 2").problems(), ElementsAre(StartsWith("f:3: ")));
  EXPECT_THAT(Read("[arena]\n[arena]").problems(), ElementsAre(StartsWith("f:2: ")));
  EXPECT_THAT(Read("[arena]\n\nbytes = 1GiB").problems(), ElementsAre(StartsWith("f:3: ")));
  EXPECT_THAT(Read("arena = 5").problems(), ElementsAre(StartsWith("f:1: arena: is a whole")));
}

// Nothing that an editor or a disk does to a file may end the daemon without a word.
TEST(ConfigReader, SurvivesDamagedFiles) {
  const std::string whole = ReferenceFile(DefaultConfig());
  constexpr uint64_t kSeed = 1;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::string text = whole.substr(0, random.Next() % (whole.size() + 1));
    for (int i = 0; i < 3 && !text.empty(); ++i) {
      text[random.Next() % text.size()] = static_cast<char>(random.Next());
    }
    const ConfigReader reader = Read(text);
    refused += reader.problems().empty() ? 0 : 1;
    for (const std::string& problem : reader.problems()) EXPECT_THAT(problem, HasSubstr(": "));
  }
  EXPECT_GT(refused, 0);
}

TEST(ConfigReader, NamesFilesThatCannotBeRead) {
  ConfigReader reader;
  reader.ReadFile("/nonexistent/larder.toml");
  reader.ReadFile("/");
  EXPECT_THAT(reader.problems(),
              ElementsAre(StartsWith("/nonexistent/larder.toml: "), StartsWith("/: ")));
}

// --- the command line ---------------------------------------------------------------------------

class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() {
    std::string pattern = ::testing::TempDir() + "/config_testXXXXXX";
    directory_ = mkdtemp(pattern.data());
    file_ = directory_ + "/larder.toml";
  }
  ~CommandLineTest() override { std::filesystem::remove_all(directory_); }

  CommandLine Parse(std::vector<std::string> arguments, const std::string& file_text = "") {
    std::ofstream(file_) << file_text;
    arguments.insert(arguments.begin(), "--config=" + file_);
    absl::StatusOr<CommandLine> line = ParseCommandLine(arguments, "1.2.3");
    EXPECT_TRUE(line.ok()) << line.status();
    return line.ok() ? *std::move(line) : CommandLine();
  }

  std::string directory_, file_;
};

TEST_F(CommandLineTest, FlagsOverrideTheFile) {
  const CommandLine line =
      Parse({"--arena-bytes", "2GiB", "--set", "core.sessions_max=9", "--set",
             "local.allowed_users=root, 5", "--set=log.level=error", "--grpc-listen=localhost:1"},
            "[arena]\nbytes = \"1GiB\"\ngranule = 8192\n[core]\nsessions_max = 8\n"
            "[grpc]\nlisten = \"\"\n");
  EXPECT_THAT(line.problems, IsEmpty());
  EXPECT_EQ(line.action, CommandLine::Action::kRun);
  EXPECT_EQ(line.config_file, file_);
  EXPECT_EQ(line.config.node.arena.data_bytes, uint64_t{2} << 30);
  EXPECT_EQ(line.config.node.arena.granule_bytes, 8192u);
  EXPECT_EQ(line.config.node.core.sessions_max, 9u);
  EXPECT_THAT(line.config.node.local.allowed_users, ElementsAre(0, 5));
  EXPECT_EQ(line.config.log_level, "error");
  EXPECT_EQ(line.config.grpc_listen, "localhost:1");
  EXPECT_FALSE(line.config.node.arena.reset);
  EXPECT_EQ(line.config.node.owner_fd, -1);
}

TEST_F(CommandLineTest, EmptyValuesSwitchOff) {
  const CommandLine line = Parse({"--metrics-listen=", "--grpc-listen", "", "--arena-reset"});
  EXPECT_THAT(line.problems, IsEmpty());
  EXPECT_EQ(line.config.metrics_listen, "");
  EXPECT_EQ(line.config.grpc_listen, "");
  EXPECT_TRUE(line.config.node.arena.reset);
}

TEST_F(CommandLineTest, LastOfRepeatedFlagsCounts) {
  const CommandLine line = Parse(
      {"--socket=/a", "--socket=/b", "--set", "core.spaces_max=1", "--set", "core.spaces_max=2"});
  EXPECT_THAT(line.problems, IsEmpty());
  EXPECT_EQ(line.config.node.local.listen.path, "/b");
  EXPECT_EQ(line.config.node.core.spaces_max, 2u);
}

TEST_F(CommandLineTest, NamesBadSettingsOfFileAndFlagsTogether) {
  const CommandLine line =
      Parse({"--check-config", "--arena-bytes=1", "--set", "arena.byts=1"}, "[core]\nx = 1\n");
  EXPECT_EQ(line.action, CommandLine::Action::kCheckConfig);
  EXPECT_THAT(
      line.problems,
      ElementsAre(StartsWith(file_ + ":2: core.x: "), StartsWith("--arena-bytes: arena.bytes: "),
                  AllOf(StartsWith("--set: arena.byts: "), HasSubstr("arena.bytes"))));
}

TEST_F(CommandLineTest, ActionsThatPrint) {
  EXPECT_EQ(Parse({"--print-config"}).action, CommandLine::Action::kPrintConfig);
  const CommandLine version = Parse({"--version"});
  EXPECT_EQ(version.action, CommandLine::Action::kPrintText);
  EXPECT_EQ(version.text, "larderd 1.2.3\n");
  const CommandLine help = Parse({"--help"});
  EXPECT_EQ(help.action, CommandLine::Action::kPrintText);
  for (const Setting& setting : Settings()) EXPECT_THAT(help.text, HasSubstr(setting.flag));
  EXPECT_THAT(help.text, Not(HasSubstr("--owner-fd")));
}

TEST_F(CommandLineTest, OwnerIsAnOpenDescriptor) {
  EXPECT_EQ(Parse({"--owner-fd=0"}).config.node.owner_fd, 0);
  const auto refused = ParseCommandLine({"--owner-fd=987654"}, "");
  EXPECT_THAT(refused.status().message(), HasSubstr("--owner-fd 987654"));
}

TEST_F(CommandLineTest, RefusesFlagsThatMakeNoSense) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"--nonsense"},
                                             {"stray"},
                                             {"--socket"},
                                             {"--set", "core.sessions_max"},
                                             {"--owner-fd=x"},
                                             {"--config="}}) {
    const auto line = ParseCommandLine(arguments, "");
    EXPECT_TRUE(absl::IsInvalidArgument(line.status())) << arguments.front();
    EXPECT_THAT(std::string(line.status().message()), HasSubstr(arguments.front().substr(0, 5)));
  }
}

TEST(DefaultConfig, SystemdChoosesTheSocketsDirectory) {
  const char* before = std::getenv("RUNTIME_DIRECTORY");
  const std::string kept = before == nullptr ? "" : before;
  setenv("RUNTIME_DIRECTORY", "/run/first:/run/second", 1);
  EXPECT_EQ(DefaultConfig().node.local.listen.path, "/run/first/larder.sock");
  unsetenv("RUNTIME_DIRECTORY");
  if (geteuid() == 0) {
    EXPECT_EQ(DefaultConfig().node.local.listen.path, "/run/larder/larder.sock");
  } else {
    EXPECT_NE(DefaultConfig().node.local.listen.path, "/run/larder/larder.sock");
  }
  if (before != nullptr) setenv("RUNTIME_DIRECTORY", kept.c_str(), 1);
}

}  // namespace
}  // namespace larder
