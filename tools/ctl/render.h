// What people read: the services' answers as text. All pure; names chosen by others are made
// printable.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "proto/larder/v1/admin.pb.h"
#include "tools/console/table.h"

namespace larder {

// How much of an id a table shows; enough to name it with.
inline constexpr size_t kShortIdDigits = 8;

// "[######..............]  30%".
std::string UsageBar(uint64_t used, uint64_t capacity);

// "87.5%" of hits and misses, "-" without either.
std::string FormatRatio(uint64_t hits, uint64_t misses);

// Aligned "name  value" lines.
std::string FieldLines(const std::vector<std::pair<std::string, std::string>>& fields);

std::string StatusText(const v1::StatusResponse& status);

Table SpacesTable(std::span<const v1::SpaceStatus> spaces);

Table ChunksTable(std::span<const v1::ChunkStatus> chunks);

std::string InspectText(const v1::InspectResponse& response);

// The containers with something wrong.
bool HasProblem(const v1::InspectResponse& response);

}  // namespace larder
