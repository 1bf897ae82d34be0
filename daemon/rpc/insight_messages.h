// The core's insight as a message.
#pragma once

#include "proto/larder/v1/admin.pb.h"
#include "storage/insight/insight.h"

namespace larder {

void FillInsight(const InsightReport& report, v1::InsightResponse* response);

}  // namespace larder
