// The cluster, for people. Pure.
#pragma once

#include <string>

#include "proto/larder/v1/admin.pb.h"

namespace larder {

// The members with what they hold, and what flows between them and the node that was asked.
std::string ClusterText(const v1::ClusterResponse& cluster);

// Which nodes hold each chunk, a line a chunk.
std::string WhereText(const v1::WhereResponse& where);

}  // namespace larder
