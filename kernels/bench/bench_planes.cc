#include "kernels/bench/bench_planes.h"

#include <cmath>
#include <cstring>
#include <random>

#include "kernels/codec/element_convert.h"
#include "kernels/codec/larder/profile_builder.h"

namespace larder {
namespace {

constexpr double kTwoPi = 6.283185307179586;
constexpr double kRopeBase = 500000;
constexpr uint64_t kFirstToken = 4096;

std::vector<uint64_t> RopeTurns(uint32_t head_dim) {
  std::vector<uint64_t> turns;
  for (uint32_t pair = 0; pair < head_dim / 2; ++pair) {
    const double radians = std::pow(kRopeBase, -2.0 * pair / head_dim);
    turns.push_back(static_cast<uint64_t>(radians / kTwoPi * 0x1p64));
  }
  return turns;
}

// One head of keys or values before their rotation: [token][dim].
std::vector<double> RandomHead(const PlaneGeometry& geometry, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  std::vector<double> head(size_t{geometry.tokens} * geometry.head_dim);
  for (uint32_t channel = 0; channel < geometry.head_dim; ++channel) {
    const double mean = normal(random);
    const double spread = std::exp(0.4 * normal(random));
    for (uint32_t token = 0; token < geometry.tokens; ++token) {
      head[size_t{token} * geometry.head_dim + channel] = mean + spread * normal(random);
    }
  }
  return head;
}

void RotateHead(const PlaneGeometry& geometry, std::vector<double>& head) {
  const uint32_t pairs = geometry.head_dim / 2;
  for (uint32_t token = 0; token < geometry.tokens; ++token) {
    double* const row = &head[size_t{token} * geometry.head_dim];
    for (uint32_t pair = 0; pair < pairs; ++pair) {
      const double angle = static_cast<double>(kFirstToken + token) *
                           std::pow(kRopeBase, -2.0 * pair / geometry.head_dim);
      const double first = row[pair];
      const double second = row[pair + pairs];
      row[pair] = first * std::cos(angle) - second * std::sin(angle);
      row[pair + pairs] = second * std::cos(angle) + first * std::sin(angle);
    }
  }
}

}  // namespace

PlaneGeometry BenchGeometry() {
  return {.element = CodecElement::kBfloat16,
          .heads = 8,
          .tokens = 256,
          .filled_tokens = 256,
          .head_dim = 128};
}

BenchChunk MakeBenchChunk(const PlaneGeometry& geometry, uint32_t layers) {
  BenchChunk chunk;
  chunk.geometry = geometry;
  std::mt19937_64 random(1);
  for (uint32_t layer = 0; layer < layers; ++layer) {
    for (const PlaneKind kind : {PlaneKind::kKey, PlaneKind::kValue}) {
      std::vector<uint8_t> plane;
      plane.reserve(chunk.geometry.PlaneBytes());
      for (uint32_t head = 0; head < chunk.geometry.heads; ++head) {
        std::vector<double> values = RandomHead(chunk.geometry, random);
        if (kind == PlaneKind::kKey) {
          RotateHead(chunk.geometry, values);
        }
        for (const double value : values) {
          const uint32_t bits = ElementFromFloat(geometry.element, static_cast<float>(value));
          plane.push_back(static_cast<uint8_t>(bits));
          if (CodecElementBytes(geometry.element) == 2) {
            plane.push_back(static_cast<uint8_t>(bits >> 8));
          }
        }
      }
      chunk.places.push_back({.layer = layer, .kind = kind, .first_token = kFirstToken});
      chunk.planes.push_back(std::move(plane));
    }
  }
  return chunk;
}

std::shared_ptr<const LarderProfile> MakeBenchProfile(const BenchChunk& chunk) {
  const PlaneGeometry& geometry = chunk.geometry;
  ProfileContents model;
  model.layers = chunk.places.back().layer + 1;
  model.planes_per_layer = 2;
  model.heads = geometry.heads;
  model.head_dim = geometry.head_dim;
  model.rotation = {RopeStyle::kHalves, 0, geometry.head_dim / 2};
  model.turns = RopeTurns(geometry.head_dim);
  ProfileBuilder builder(model);
  for (size_t i = 0; i < chunk.planes.size(); ++i) {
    builder.AddValues(geometry, chunk.places[i], chunk.planes[i]);
  }
  for (const PlanePlace& place : chunk.places) {
    for (uint32_t head = 0; head < geometry.heads; ++head) {
      const double step = 1.2 * builder.Deviation(place.layer, place.kind, head);
      for (uint32_t channel = 0; channel < geometry.head_dim; ++channel) {
        builder.SetStep(place.layer, place.kind, head, channel, step);
      }
    }
  }
  builder.SetMeans();
  for (size_t i = 0; i < chunk.planes.size(); ++i) {
    builder.AddSymbols(geometry, chunk.places[i], chunk.planes[i]);
  }
  std::shared_ptr<const LarderProfile> profile;
  (void)LarderProfile::Parse(SerializeProfile(builder.Finish()), ProfileId{1}, profile);
  return profile;
}

}  // namespace larder
