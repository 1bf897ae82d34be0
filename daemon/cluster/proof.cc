#include "daemon/cluster/proof.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace larder {

std::string ClusterProof(absl::string_view secret, absl::string_view cluster) {
  const std::string text = absl::StrCat("larder cluster ", cluster);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int bytes = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &bytes);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), bytes));
}

bool ProvesCluster(absl::string_view proof, absl::string_view secret, absl::string_view cluster) {
  const std::string expected = ClusterProof(secret, cluster);
  return proof.size() == expected.size() &&
         CRYPTO_memcmp(proof.data(), expected.data(), expected.size()) == 0;
}

}  // namespace larder
