// Quotas of tenants as text: "NAME memory=4GiB..8GiB disk=..20GiB".
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/policy/tenant_shares.h"

namespace larder {

// A list with commas between its elements; empty for none. Each names a tenant and, of either tier,
// what it is sure of and the most that it may have; what is left out is none. INVALID_ARGUMENT says
// what is wrong with which.
absl::StatusOr<std::vector<TenantLimits>> ParseTenants(absl::string_view text);

// One element.
std::string FormatTenant(const TenantLimits& tenant);

// Most tenants with quotas: each has an order of its own, of about 3 MiB.
inline constexpr size_t kTenantsMax = 64;

}  // namespace larder
