#include "tools/codec/profile_maker.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "kernels/codec/larder/profile_builder.h"

namespace larder {
namespace {

// A key channel's step is at most so many times coarser or finer than its head's.
constexpr double kQueryWeightMax = 4;
// Keeps logarithms finite where queries are zero.
constexpr double kEnergyMin = 1e-12;
// A plane's step is at most so many times coarser or finer than sensitivity apart.
constexpr double kSensitivityWeightMax = 4;

double GeometricMean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return std::exp(sum / static_cast<double>(values.size()));
}

absl::StatusOr<std::vector<double>> Numbers(const nlohmann::json& json, const char* field) {
  std::vector<double> numbers;
  if (json.is_object() && json.contains(field) && json[field].is_array()) {
    for (const nlohmann::json& number : json[field]) {
      if (number.is_number() && number.get<double>() > 0) numbers.push_back(number.get<double>());
    }
    if (!numbers.empty() && numbers.size() == json[field].size()) return numbers;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("sensitivity: \"", field, "\" must be a list of numbers above 0"));
}

ProfileContents ContentsFor(const SampleShape& shape, bool undo_rotation) {
  ProfileContents contents;
  contents.layers = shape.layers;
  contents.planes_per_layer = kPlanesPerLayer;
  contents.heads = shape.geometry.heads;
  contents.head_dim = shape.geometry.head_dim;
  if (shape.rope_style == RopeStyle::kNone || !undo_rotation) return contents;
  const uint32_t pairs = shape.geometry.head_dim / 2;
  contents.rotation = {.style = shape.rope_style, .channel_begin = 0, .pairs = pairs};
  constexpr long double kTurn = 18446744073709551616.0L;  // 2^64
  for (uint32_t pair = 0; pair < pairs; ++pair) {
    const long double radians =
        std::pow(static_cast<long double>(shape.rope_base),
                 -2.0L * pair / static_cast<long double>(shape.geometry.head_dim));
    contents.turns.push_back(
        static_cast<uint64_t>(radians / (2 * std::numbers::pi_v<long double>)*kTurn));
  }
  return contents;
}

// Mean squares of the queries that a KV head's channels meet, [layer][kv head][channel].
class QueryEnergy {
 public:
  explicit QueryEnergy(const SampleShape& shape)
      : shape_(shape),
        sums_(size_t{shape.layers} * shape.geometry.heads * shape.geometry.head_dim) {}

  void Add(const Sample& sample) {
    const uint32_t dim = shape_.geometry.head_dim, tokens = shape_.geometry.tokens;
    const uint32_t group = shape_.query_heads / shape_.geometry.heads;
    for (size_t i = 0; i < sample.queries.size(); ++i) {
      const size_t head = i / dim / tokens % shape_.query_heads;
      const size_t layer = i / dim / tokens / shape_.query_heads % shape_.layers;
      const float value = std::bit_cast<float>(uint32_t{sample.queries[i]} << 16);
      sums_[(layer * shape_.geometry.heads + head / group) * dim + i % dim] += value * value;
    }
  }

  // A rotary pair's channels take turns, so both have their mean.
  std::vector<double> OfHead(uint32_t layer, uint32_t head) const {
    const uint32_t dim = shape_.geometry.head_dim;
    const auto first =
        sums_.begin() + static_cast<ptrdiff_t>((layer * shape_.geometry.heads + head) * dim);
    std::vector<double> energy(first, first + dim);
    const RotationShape rotation{.style = shape_.rope_style, .channel_begin = 0, .pairs = dim / 2};
    for (uint32_t pair = 0; shape_.rope_style != RopeStyle::kNone && pair < dim / 2; ++pair) {
      double& low = energy[rotation.First(pair)];
      double& high = energy[rotation.Second(pair)];
      low = high = (low + high) / 2;
    }
    for (double& channel : energy) channel = std::max(channel, kEnergyMin);
    return energy;
  }

 private:
  const SampleShape& shape_;
  std::vector<double> sums_;
};

class StepChooser {
 public:
  StepChooser(const SampleShape& shape, const Sensitivity& sensitivity, const QueryEnergy& energy,
              const ProfileOptions& options)
      : shape_(shape), sensitivity_(sensitivity), energy_(energy), options_(options) {
    std::vector<double> all = sensitivity.keys;
    all.insert(all.end(), sensitivity.values.begin(), sensitivity.values.end());
    if (!all.empty()) ordinary_ = GeometricMean(all);
  }

  void SetAll(ProfileBuilder* builder) const {
    for (uint32_t layer = 0; layer < shape_.layers; ++layer) {
      for (uint32_t head = 0; head < shape_.geometry.heads; ++head) {
        SetHead(builder, layer, PlaneKind::kKey, head, QueryWeights(layer, head));
        SetHead(builder, layer, PlaneKind::kValue, head,
                std::vector<double>(shape_.geometry.head_dim, 1));
      }
    }
  }

 private:
  double PlaneWeight(uint32_t layer, PlaneKind kind) const {
    const auto& levels = kind == PlaneKind::kKey ? sensitivity_.keys : sensitivity_.values;
    if (levels.empty()) return 1;
    return std::clamp(std::pow(ordinary_ / levels[layer], options_.sensitivity_power),
                      1 / kSensitivityWeightMax, kSensitivityWeightMax);
  }

  std::vector<double> QueryWeights(uint32_t layer, uint32_t head) const {
    std::vector<double> weights(shape_.geometry.head_dim, 1);
    if (options_.query_power == 0) return weights;
    const std::vector<double> energy = energy_.OfHead(layer, head);
    const double ordinary = GeometricMean(energy);
    for (size_t channel = 0; channel < weights.size(); ++channel) {
      weights[channel] = std::clamp(std::pow(ordinary / energy[channel], options_.query_power),
                                    1 / kQueryWeightMax, kQueryWeightMax);
    }
    return weights;
  }

  void SetHead(ProfileBuilder* builder, uint32_t layer, PlaneKind kind, uint32_t head,
               const std::vector<double>& weights) const {
    const double step =
        options_.base_step * PlaneWeight(layer, kind) * builder->Deviation(layer, kind, head);
    for (uint32_t channel = 0; channel < weights.size(); ++channel) {
      const double finest =
          options_.step_min * builder->ChannelDeviation(layer, kind, head, channel);
      builder->SetStep(layer, kind, head, channel, std::max(step * weights[channel], finest));
    }
  }

  const SampleShape& shape_;
  const Sensitivity& sensitivity_;
  const QueryEnergy& energy_;
  const ProfileOptions& options_;
  double ordinary_ = 1;
};

bool SameShape(const SampleShape& a, const SampleShape& b) {
  return a.layers == b.layers && a.query_heads == b.query_heads &&
         a.geometry.heads == b.geometry.heads && a.geometry.head_dim == b.geometry.head_dim &&
         a.geometry.tokens == b.geometry.tokens && a.rope_style == b.rope_style &&
         a.rope_base == b.rope_base;
}

absl::Status CheckSample(const Sample& sample, const SampleShape& first, const std::string& path,
                         const ProfileOptions& options) {
  if (!SameShape(sample.shape, first)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": another shape than the first sample"));
  }
  if (options.query_power != 0 && sample.queries.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": has no queries"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Sensitivity> ParseSensitivity(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  Sensitivity sensitivity;
  ASSIGN_OR_RETURN(sensitivity.keys, Numbers(json, "keys"));
  ASSIGN_OR_RETURN(sensitivity.values, Numbers(json, "values"));
  return sensitivity;
}

absl::StatusOr<std::vector<uint8_t>> MakeProfile(const std::vector<std::string>& sample_paths,
                                                 const Sensitivity& sensitivity,
                                                 const ProfileOptions& options) {
  if (sample_paths.empty()) return absl::InvalidArgumentError("a profile needs samples");
  std::vector<Sample> samples;
  for (const std::string& path : sample_paths) {
    ASSIGN_OR_RETURN(Sample sample, LoadSample(path, /*with_queries=*/options.query_power != 0));
    RETURN_IF_ERROR(
        CheckSample(sample, samples.empty() ? sample.shape : samples.front().shape, path, options));
    samples.push_back(std::move(sample));
  }
  const SampleShape& shape = samples.front().shape;
  if (!sensitivity.keys.empty() &&
      (sensitivity.keys.size() != shape.layers || sensitivity.values.size() != shape.layers)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sensitivity: not of the samples' ", shape.layers, " layers"));
  }
  ProfileBuilder builder(ContentsFor(shape, options.undo_rotation));
  QueryEnergy energy(shape);
  for (const Sample& sample : samples) {
    for (size_t plane = 0; plane < sample.shape.PlaneCount(); ++plane) {
      const PlanePlace place = sample.shape.Place(plane);
      if (const CodecStatus status = builder.Check(sample.shape.geometry, place); !status.ok()) {
        return absl::InvalidArgumentError(status.text);
      }
      builder.AddValues(sample.shape.geometry, place, sample.Plane(plane));
    }
    energy.Add(sample);
  }
  StepChooser(shape, sensitivity, energy, options).SetAll(&builder);
  builder.SetMeans();
  for (const Sample& sample : samples) {
    for (size_t plane = 0; plane < sample.shape.PlaneCount(); ++plane) {
      builder.AddSymbols(sample.shape.geometry, sample.shape.Place(plane), sample.Plane(plane));
    }
  }
  return SerializeProfile(builder.Finish());
}

}  // namespace larder
