#include "daemon/config/tenant_setting.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status.h"
#include "daemon/config/setting.h"

namespace larder {
namespace {

constexpr absl::string_view kForm = "\"NAME memory=4GiB..8GiB disk=..20GiB\"";

absl::Status Wrong(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\": ", what, "; as in ", kForm));
}

// "4GiB..8GiB", of which either may be left out.
absl::StatusOr<TierLimits> ParseLimits(absl::string_view text) {
  const size_t dots = text.find("..");
  if (dots == absl::string_view::npos) return absl::InvalidArgumentError("no \"..\" in a range");
  TierLimits limits;
  const absl::string_view guaranteed = text.substr(0, dots), ceiling = text.substr(dots + 2);
  if (!guaranteed.empty()) {
    ASSIGN_OR_RETURN(limits.guaranteed, ParseByteCount(guaranteed));
  }
  if (!ceiling.empty()) {
    ASSIGN_OR_RETURN(limits.ceiling, ParseByteCount(ceiling));
  }
  if (limits.ceiling < limits.guaranteed) {
    return absl::InvalidArgumentError("the ceiling is below what is guaranteed");
  }
  return limits;
}

absl::StatusOr<TenantLimits> ParseTenant(absl::string_view text) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(text, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (words.empty()) return Wrong(text, "names no tenant");
  TenantLimits tenant;
  tenant.tenant = std::string(words[0]);
  for (size_t i = 1; i < words.size(); ++i) {
    absl::string_view range = words[i];
    TierLimits* tier = absl::ConsumePrefix(&range, "memory=") ? &tenant.memory
                       : absl::ConsumePrefix(&range, "disk=") ? &tenant.disk
                                                              : nullptr;
    if (tier == nullptr) return Wrong(text, "neither memory= nor disk=");
    const absl::StatusOr<TierLimits> limits = ParseLimits(range);
    if (!limits.ok()) return Wrong(text, limits.status().message());
    *tier = *limits;
  }
  return tenant;
}

std::string FormatLimits(absl::string_view name, const TierLimits& limits) {
  const bool has_ceiling = limits.ceiling != ~uint64_t{0};
  if (limits.guaranteed == 0 && !has_ceiling) return "";
  return absl::StrCat(" ", name, "=",
                      limits.guaranteed == 0 ? "" : FormatByteCount(limits.guaranteed), "..",
                      has_ceiling ? FormatByteCount(limits.ceiling) : "");
}

}  // namespace

absl::StatusOr<std::vector<TenantLimits>> ParseTenants(absl::string_view text) {
  std::vector<TenantLimits> tenants;
  for (const absl::string_view element : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    ASSIGN_OR_RETURN(TenantLimits tenant, ParseTenant(absl::StripAsciiWhitespace(element)));
    const bool twice = std::any_of(tenants.begin(), tenants.end(), [&](const TenantLimits& other) {
      return other.tenant == tenant.tenant;
    });
    if (twice) return Wrong(element, "is there twice");
    tenants.push_back(std::move(tenant));
  }
  if (tenants.size() > kTenantsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(tenants.size(), " tenants are too many: at most ", kTenantsMax));
  }
  return tenants;
}

std::string FormatTenant(const TenantLimits& tenant) {
  return absl::StrCat(tenant.tenant, FormatLimits("memory", tenant.memory),
                      FormatLimits("disk", tenant.disk));
}

}  // namespace larder
