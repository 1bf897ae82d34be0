#include "daemon/metrics/families.h"

#include <utility>

namespace larder {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Family(const char* name, const char* help, MetricType type,
                    std::vector<LabelledValue> values) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  for (LabelledValue& labelled : values) {
    ClientMetric metric;
    metric.label = std::move(labelled.labels);
    (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = labelled.value;
    family.metric.push_back(std::move(metric));
  }
  return family;
}

MetricFamily Gauge(const char* name, const char* help, double value) {
  return Family(name, help, MetricType::Gauge, {{.labels = {}, .value = value}});
}

MetricFamily Counter(const char* name, const char* help, uint64_t value) {
  return Family(name, help, MetricType::Counter,
                {{.labels = {}, .value = static_cast<double>(value)}});
}

}  // namespace larder
