#include "tools/codec/distortion.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

namespace larder {
namespace {

// Of the last chunk's tokens each so many'th asks.
constexpr uint32_t kQueryStride = 16;

float FromBfloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// One head of one plane as floats, [token][dim].
void ReadHead(const SampleShape& shape, std::span<const uint8_t> planes, size_t plane,
              uint32_t head, float* out) {
  const size_t bytes = shape.geometry.HeadBytes();
  const uint8_t* source = planes.data() + plane * shape.geometry.PlaneBytes() + head * bytes;
  for (size_t i = 0; i < bytes / 2; ++i) {
    uint16_t bits;
    std::memcpy(&bits, source + 2 * i, sizeof(bits));
    out[i] = FromBfloat16(bits);
  }
}

// One KV head over all chunks.
struct HeadPair {
  std::vector<float> exact, decoded;  // [token][dim]
};

HeadPair ReadSequence(const Sample& sample, std::span<const uint8_t> decoded, uint32_t layer,
                      PlaneKind kind, uint32_t head) {
  const SampleShape& shape = sample.shape;
  const size_t values = size_t{shape.geometry.tokens} * shape.geometry.head_dim;
  HeadPair pair{std::vector<float>(values * shape.chunks),
                std::vector<float>(values * shape.chunks)};
  for (uint32_t chunk = 0; chunk < shape.chunks; ++chunk) {
    const size_t plane = shape.PlaneNumber(chunk, layer, kind);
    ReadHead(shape, sample.planes, plane, head, pair.exact.data() + chunk * values);
    ReadHead(shape, decoded, plane, head, pair.decoded.data() + chunk * values);
  }
  return pair;
}

double SnrDb(const HeadPair& pair, uint32_t dim) {
  std::vector<double> means(dim);
  const auto tokens = static_cast<double>(pair.exact.size() / dim);
  for (size_t i = 0; i < pair.exact.size(); ++i) means[i % dim] += pair.exact[i] / tokens;
  double signal = 0, noise = 0;
  for (size_t i = 0; i < pair.exact.size(); ++i) {
    const double value = pair.exact[i] - means[i % dim];
    const double error = double{pair.decoded[i]} - pair.exact[i];
    signal += value * value;
    noise += error * error;
  }
  if (noise == 0) return kSnrMaxDb;
  return std::min(kSnrMaxDb, 10 * std::log10(signal / noise));
}

struct AttentionErrors {
  double logit_squares = 0, logits = 0;
  double output_squares = 0, output_noise = 0;
};

// Softmax of the logits in place, then the mean of the values' rows.
std::vector<double> Attend(std::vector<double>& logits, const std::vector<float>& values,
                           uint32_t dim) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (double& logit : logits) sum += logit = std::exp(logit - largest);
  std::vector<double> output(dim);
  for (size_t token = 0; token < logits.size(); ++token) {
    const double weight = logits[token] / sum;
    for (uint32_t i = 0; i < dim; ++i) output[i] += weight * values[token * dim + i];
  }
  return output;
}

std::vector<double> Logits(const std::vector<float>& query, const std::vector<float>& keys,
                           size_t tokens) {
  const size_t dim = query.size();
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  std::vector<double> logits(tokens);
  for (size_t token = 0; token < tokens; ++token) {
    float sum = 0;
    for (size_t i = 0; i < dim; ++i) sum += query[i] * keys[token * dim + i];
    logits[token] = sum * scale;
  }
  return logits;
}

void AddQuery(const std::vector<float>& query, const HeadPair& keys, const HeadPair& values,
              size_t tokens, AttentionErrors* errors) {
  std::vector<double> exact = Logits(query, keys.exact, tokens);
  std::vector<double> decoded = Logits(query, keys.decoded, tokens);
  for (size_t token = 0; token < tokens; ++token) {
    const double error = decoded[token] - exact[token];
    errors->logit_squares += error * error;
  }
  errors->logits += static_cast<double>(tokens);
  const auto dim = static_cast<uint32_t>(query.size());
  const std::vector<double> exact_output = Attend(exact, values.exact, dim);
  const std::vector<double> decoded_output = Attend(decoded, values.decoded, dim);
  for (uint32_t i = 0; i < dim; ++i) {
    const double error = decoded_output[i] - exact_output[i];
    errors->output_squares += exact_output[i] * exact_output[i];
    errors->output_noise += error * error;
  }
}

// All query heads that read this KV head.
void AddQueries(const Sample& sample, uint32_t layer, uint32_t kv_head, const HeadPair& keys,
                const HeadPair& values, AttentionErrors* errors) {
  const SampleShape& shape = sample.shape;
  const PlaneGeometry& geometry = shape.geometry;
  const uint32_t group = shape.query_heads / geometry.heads;
  const size_t first = (size_t{shape.chunks} - 1) * shape.layers + layer;
  std::vector<float> query(geometry.head_dim);
  for (uint32_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (uint32_t token = 0; token < geometry.tokens; token += kQueryStride) {
      const size_t row = (first * shape.query_heads + head) * geometry.tokens + token;
      for (uint32_t i = 0; i < geometry.head_dim; ++i) {
        query[i] = FromBfloat16(sample.queries[row * geometry.head_dim + i]);
      }
      const size_t tokens = size_t{shape.chunks - 1} * geometry.tokens + token + 1;
      AddQuery(query, keys, values, tokens, errors);
    }
  }
}

}  // namespace

Distortion MeasureDistortion(const Sample& sample, std::span<const uint8_t> decoded) {
  const SampleShape& shape = sample.shape;
  Distortion distortion;
  AttentionErrors errors;
  const auto heads = static_cast<double>(size_t{shape.layers} * shape.geometry.heads);
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (uint32_t head = 0; head < shape.geometry.heads; ++head) {
      const HeadPair keys = ReadSequence(sample, decoded, layer, PlaneKind::kKey, head);
      const HeadPair values = ReadSequence(sample, decoded, layer, PlaneKind::kValue, head);
      distortion.keys_snr_db += SnrDb(keys, shape.geometry.head_dim) / heads;
      distortion.values_snr_db += SnrDb(values, shape.geometry.head_dim) / heads;
      if (!sample.queries.empty()) AddQueries(sample, layer, head, keys, values, &errors);
    }
  }
  if (errors.logits > 0) {
    distortion.logit_error = std::sqrt(errors.logit_squares / errors.logits);
    distortion.output_error = std::sqrt(errors.output_noise / errors.output_squares);
  }
  return distortion;
}

}  // namespace larder
