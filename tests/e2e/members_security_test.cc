// Membership in an etcd that asks who one is, and over TLS.
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/members_fixture.h"

namespace larder {
namespace {

constexpr char kOpenssl[] = "/usr/bin/openssl";

class MembersSecurityTest : public MembersTest {
 protected:
  // An etcd where only root and "larder" may do anything, and the latter only below /larder/.
  void StartEtcdWithUsers() {
    // Cheap passwords: the machine may be busy, and a lease of these tests is short.
    StartEtcd({.flags = {"--bcrypt-cost=4"}, .control_flags = {"--user=root:rootpw"}});
    EtcdProcess& etcd = *etcd_;
    etcd.Control({"user", "add", "root:rootpw"});
    etcd.Control({"user", "add", "larder:secret"});
    etcd.Control({"role", "add", "members"});
    etcd.Control({"role", "grant-permission", "members", "--prefix=true", "readwrite", "/larder/"});
    etcd.Control({"user", "grant-role", "root", "root"});
    etcd.Control({"user", "grant-role", "larder", "members"});
    etcd.Control({"auth", "enable"});
  }

  void Openssl(const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {kOpenssl};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const std::unique_ptr<ChildProcess> openssl = ChildProcess::Start(all);
    ASSERT_EQ(openssl->WaitForEnd().value_or("runs on"), "exit 0") << openssl->Output();
  }
  std::string Path(absl::string_view file) const {
    return absl::StrCat(directory_.path(), "/", file);
  }
  void MakeAuthority(const std::string& name) {
    Openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-keyout", Path(name + ".key"), "-out", Path(name + ".pem"), "-days", "2", "-subj",
             "/CN=" + name});
  }
  // A certificate of that authority for 127.0.0.1, as server and as client.
  void MakeCertificate(const std::string& name, const std::string& authority) {
    Openssl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
             Path(name + ".key"), "-out", Path(name + ".csr"), "-subj", "/CN=" + name, "-addext",
             "subjectAltName=IP:127.0.0.1"});
    Openssl({"x509", "-req", "-in", Path(name + ".csr"), "-CA", Path(authority + ".pem"), "-CAkey",
             Path(authority + ".key"), "-CAcreateserial", "-out", Path(name + ".pem"), "-days", "2",
             "-copy_extensions", "copy"});
  }
};

TEST_F(MembersSecurityTest, UserAndPasswordOpenEtcd) {
  StartEtcdWithUsers();
  EtcdOptions options = Options();
  options.user = "larder";
  options.password = "secret";
  TestNode a(options, "a");
  TestNode b(options, "b");
  ASSERT_TRUE(a.Sees({"a", "b"})) << a.View().problem;
  ASSERT_TRUE(b.Sees({"a", "b"})) << b.View().problem;
  etcd_->Kill();  // and forgets the tokens that it gave
  etcd_->Start();
  ASSERT_TRUE(Eventually([&] { return a.View().source_reachable && b.View().source_reachable; }));
  MemberRecord draining = TestMember("b", 1);
  draining.draining = true;
  b.source().Publish(draining);
  EXPECT_TRUE(Eventually([&] { return a.View().members[1].draining; })) << a.View().problem;
}

TEST_F(MembersSecurityTest, WhoMayNotComeInIsToldWhy) {
  StartEtcdWithUsers();
  EtcdOptions options = Options();
  TestNode nobody(options, "nobody");
  options.user = "larder";
  options.password = "guess";
  TestNode wrong(options, "wrong");
  options.password = "secret";
  options.prefix = "/elsewhere/";
  TestNode strayed(options, "strayed");
  const auto problem_has = [](const TestNode& node, absl::string_view text) {
    return Eventually([&] { return absl::StrContains(node.View().problem, text); });
  };
  EXPECT_TRUE(problem_has(nobody, "user name is empty")) << nobody.View().problem;
  EXPECT_TRUE(problem_has(wrong, "as user larder: etcdserver: authentication failed"))
      << wrong.View().problem;
  EXPECT_TRUE(problem_has(strayed, "permission denied")) << strayed.View().problem;
  for (const TestNode* node : {&nobody, &wrong, &strayed}) {
    EXPECT_FALSE(node->View().source_reachable);
    EXPECT_EQ(node->View().members.size(), 1);
  }
}

TEST_F(MembersSecurityTest, AUserIsNoHarmWhereNobodyIsAsked) {
  StartEtcd();
  EtcdOptions options = Options();
  options.user = "larder";
  options.password = "secret";
  TestNode a(options, "a");
  EXPECT_TRUE(a.Reaches(true)) << a.View().problem;
}

TEST_F(MembersSecurityTest, TlsIsCheckedOnBothSides) {
  if (access(kOpenssl, X_OK) != 0) GTEST_SKIP() << "no " << kOpenssl;
  ASSERT_NO_FATAL_FAILURE(MakeAuthority("ca"));
  ASSERT_NO_FATAL_FAILURE(MakeAuthority("otherca"));
  ASSERT_NO_FATAL_FAILURE(MakeCertificate("server", "ca"));
  ASSERT_NO_FATAL_FAILURE(MakeCertificate("node", "ca"));
  ASSERT_NO_FATAL_FAILURE(MakeCertificate("foreign", "otherca"));
  StartEtcd({.scheme = "https",
             .flags = {"--cert-file=" + Path("server.pem"), "--key-file=" + Path("server.key"),
                       "--trusted-ca-file=" + Path("ca.pem"), "--client-cert-auth"}});
  EtcdOptions options = Options();
  TestNode plain(options, "plain");
  options.ca_file = Path("ca.pem");
  TestNode bare(options, "bare");  // shows no certificate
  options.certificate_file = Path("foreign.pem");
  options.key_file = Path("foreign.key");
  TestNode foreign(options, "foreign");
  options.certificate_file = Path("node.pem");
  options.key_file = Path("node.key");
  options.ca_file = Path("otherca.pem");
  TestNode doubtful(options, "doubtful");  // does not trust this etcd
  options.ca_file = Path("ca.pem");
  TestNode a(options, "a");
  options.endpoints = {"https://" + etcd_->endpoint()};
  TestNode b(options, "b");
  EXPECT_TRUE(a.Sees({"a", "b"})) << a.View().problem;
  EXPECT_TRUE(b.Sees({"a", "b"})) << b.View().problem;
  for (const TestNode* node : {&plain, &bare, &foreign, &doubtful}) {
    EXPECT_FALSE(node->View().source_reachable);
    EXPECT_TRUE(Eventually([&] { return absl::StrContains(node->View().problem, "UNAVAILABLE"); }))
        << node->View().problem;
  }
}

}  // namespace
}  // namespace larder
