// Makes Prometheus' metric families from values.
#pragma once

#include <prometheus/client_metric.h>
#include <prometheus/metric_family.h>

#include <cstdint>
#include <vector>

namespace larder {

struct LabelledValue {
  std::vector<prometheus::ClientMetric::Label> labels;
  double value = 0;
};

// A gauge or a counter.
prometheus::MetricFamily Family(const char* name, const char* help, prometheus::MetricType type,
                                std::vector<LabelledValue> values);
prometheus::MetricFamily Gauge(const char* name, const char* help, double value);
prometheus::MetricFamily Counter(const char* name, const char* help, uint64_t value);

}  // namespace larder
