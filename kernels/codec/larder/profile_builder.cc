#include "kernels/codec/larder/profile_builder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/codec/larder/step_table.h"

namespace larder {
namespace {

uint8_t NearestStepIndex(double base_step) {
  const double index =
      (std::log2(base_step / kFineSteps) - kStepExponentMin) * double{kStepsPerOctave};
  return static_cast<uint8_t>(
      std::lround(std::clamp(index, 0.0, static_cast<double>(kStepIndexMax))));
}

}  // namespace

ProfileBuilder::ProfileBuilder(ProfileContents contents)
    : contents_(std::move(contents)), rotation_(contents_.rotation, contents_.turns) {
  if (contents_.tables.empty()) {
    contents_.tables.assign(DefaultTables().begin(), DefaultTables().end());
  }
  (void)family_.Build(contents_.tables);
  const size_t count =
      size_t{contents_.layers} * contents_.planes_per_layer * contents_.heads * contents_.head_dim;
  channels_.resize(count);
  contents_.steps.assign(count, kStepIndexMax / 2);
  contents_.channel_tables.assign(count, 0);
  contents_.means.assign(count, 0);
}

CodecStatus ProfileBuilder::Check(const PlaneGeometry& geometry, const PlanePlace& place) const {
  LARDER_RETURN_IF_CODEC_ERROR(geometry.Validate());
  if (geometry.head_dim != contents_.head_dim || place.layer >= contents_.layers ||
      place.head_begin > contents_.heads || geometry.heads > contents_.heads - place.head_begin ||
      (place.kind == PlaneKind::kLatent) != (contents_.planes_per_layer == 1)) {
    return InvalidCodecArgument("plane: not one of the profile's model");
  }
  return {};
}

size_t ProfileBuilder::FirstChannel(uint32_t layer, PlaneKind kind, uint32_t head) const {
  const size_t plane =
      size_t{layer} * contents_.planes_per_layer + (kind == PlaneKind::kValue ? 1 : 0);
  return (plane * contents_.heads + head) * contents_.head_dim;
}

HeadShape ProfileBuilder::ShapeOf(const PlaneGeometry& geometry, const PlanePlace& place) const {
  HeadShape shape;
  shape.element = geometry.element;
  shape.head_dim = geometry.head_dim;
  shape.tokens = geometry.filled_tokens;
  if (place.kind != PlaneKind::kValue && contents_.rotation.pairs != 0) {
    rotation_.SetView(place.first_token, &shape.rotation);
  }
  // Sinks are stored exactly and say nothing about the rest.
  shape.exact_tokens = ExactTokens(place.first_token, shape.tokens);
  return shape;
}

void ProfileBuilder::AddValues(const PlaneGeometry& geometry, const PlanePlace& place,
                               std::span<const uint8_t> elements) {
  const HeadShape shape = ShapeOf(geometry, place);
  FloatRow row;
  for (uint32_t head = 0; head < geometry.heads; ++head) {
    Channel* const channels =
        &channels_[FirstChannel(place.layer, place.kind, place.head_begin + head)];
    const uint8_t* const from = elements.data() + head * geometry.HeadBytes();
    for (uint32_t token = shape.exact_tokens; token < shape.tokens; ++token) {
      LoadUnrotated(ScalarRowKernels(), shape, from, token, &row);
      for (uint32_t channel = 0; channel < shape.head_dim; ++channel) {
        const double value = row.value[channel];
        if (std::isfinite(value)) {
          channels[channel].sum += value;
          channels[channel].squares += value * value;
          ++channels[channel].count;
        }
      }
    }
  }
}

double ProfileBuilder::ChannelDeviation(uint32_t layer, PlaneKind kind, uint32_t head,
                                        uint32_t channel) const {
  const Channel& sums = channels_[FirstChannel(layer, kind, head) + channel];
  if (sums.count == 0) {
    return 0;
  }
  const double count = static_cast<double>(sums.count);
  const double mean = sums.sum / count;
  return std::sqrt(std::max(0.0, sums.squares / count - mean * mean));
}

double ProfileBuilder::Deviation(uint32_t layer, PlaneKind kind, uint32_t head) const {
  double sum = 0;
  for (uint32_t channel = 0; channel < contents_.head_dim; ++channel) {
    const double deviation = ChannelDeviation(layer, kind, head, channel);
    sum += deviation * deviation;
  }
  return std::sqrt(sum / contents_.head_dim);
}

void ProfileBuilder::SetStep(uint32_t layer, PlaneKind kind, uint32_t head, uint32_t channel,
                             double step) {
  contents_.steps[FirstChannel(layer, kind, head) + channel] = NearestStepIndex(step);
}

void ProfileBuilder::SetMeans() {
  for (size_t i = 0; i < channels_.size(); ++i) {
    const Channel& sums = channels_[i];
    const double mean = sums.count == 0 ? 0 : sums.sum / static_cast<double>(sums.count);
    const double units = mean / (kMeanUnit * double{FineStep(contents_.steps[i])});
    contents_.means[i] = static_cast<int16_t>(std::lround(std::clamp(units, -32767.0, 32767.0)));
  }
}

void ProfileBuilder::AddSymbols(const PlaneGeometry& geometry, const PlanePlace& place,
                                std::span<const uint8_t> elements) {
  const HeadShape shape = ShapeOf(geometry, place);
  FloatRow row;
  for (uint32_t head = 0; head < geometry.heads; ++head) {
    const size_t first = FirstChannel(place.layer, place.kind, place.head_begin + head);
    const uint8_t* const from = elements.data() + head * geometry.HeadBytes();
    for (uint32_t token = shape.exact_tokens; token < shape.tokens; ++token) {
      LoadUnrotated(ScalarRowKernels(), shape, from, token, &row);
      for (uint32_t channel = 0; channel < shape.head_dim; ++channel) {
        const uint8_t step = contents_.steps[first + channel];
        int32_t fine;
        if (FineIndex(row.value[channel], InverseFineStep(step),
                      static_cast<float>(contents_.means[first + channel] * kMeanUnit),
                      static_cast<float>(kFineMax) + 0.5f, &fine)) {
          const uint32_t symbol = DivideByFineSteps(static_cast<uint32_t>(fine + kFineMax));
          ++channels_[first + channel].symbols[static_cast<size_t>(
              std::abs(static_cast<int32_t>(symbol) - kBaseSymbolMax))];
        }
      }
    }
  }
}

const ProfileContents& ProfileBuilder::Finish() {
  for (size_t i = 0; i < channels_.size(); ++i) {
    uint64_t best_cost = ~uint64_t{0};
    for (uint32_t table = 0; table < family_.size(); ++table) {
      const SymbolCosts& costs = family_.costs(table);
      uint64_t cost = 0;
      for (size_t index = 0; index < costs.size(); ++index) {
        cost += channels_[i].symbols[index] * static_cast<uint64_t>(costs[index]);
      }
      if (cost < best_cost) {
        best_cost = cost;
        contents_.channel_tables[i] = static_cast<uint8_t>(table);
      }
    }
  }
  return contents_;
}

}  // namespace larder
