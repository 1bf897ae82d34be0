#include "tools/codec/comparison.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status.h"
#include "tools/console/table.h"

namespace larder {
namespace {

constexpr double kBitsInByte = 8;

void AddScaled(const Distortion& more, double scale, Distortion* sum) {
  sum->keys_snr_db += more.keys_snr_db * scale;
  sum->values_snr_db += more.values_snr_db * scale;
  sum->logit_error += more.logit_error * scale;
  sum->output_error += more.output_error * scale;
}

// Adds one sample's share to the codec's rows, which exist from the first sample on.
absl::Status AddSample(const Sample& sample, const std::string& name, const Codec& codec,
                       double share, std::span<ComparisonRow> rows) {
  ASSIGN_OR_RETURN(const EncodedSample encoded, EncodeSample(sample, name, codec));
  const double scale = share * kBitsInByte / static_cast<double>(sample.shape.Values());
  for (uint32_t levels = 1; levels <= encoded.levels; ++levels) {
    ComparisonRow& row = rows[levels - 1];
    row.codec = name;
    row.levels = levels;
    row.bits += scale * static_cast<double>(encoded.ContainerBytes(levels));
    row.keys_bits +=
        scale * kPlanesPerLayer * static_cast<double>(encoded.RunBytes(PlaneKind::kKey, levels));
    row.values_bits +=
        scale * kPlanesPerLayer * static_cast<double>(encoded.RunBytes(PlaneKind::kValue, levels));
    ASSIGN_OR_RETURN(const std::vector<uint8_t> decoded, DecodeSample(encoded, codec, levels));
    AddScaled(MeasureDistortion(sample, decoded), share, &row.distortion);
  }
  return absl::OkStatus();
}

std::string Name(const ComparisonRow& row) {
  if (row.codec != "larder") return row.codec;
  return row.levels == 1 ? "larder base" : absl::StrCat("larder E", row.levels - 1);
}

}  // namespace

absl::StatusOr<std::vector<ComparisonRow>> Compare(
    const std::vector<std::string>& sample_paths, const std::vector<std::string>& codecs,
    const std::shared_ptr<const LarderProfile>& profile) {
  std::vector<std::unique_ptr<Codec>> made;
  std::vector<size_t> first_row;
  size_t row_count = 0;
  for (const std::string& name : codecs) {
    ASSIGN_OR_RETURN(std::unique_ptr<Codec> codec, MakeCodecByName(name, profile));
    first_row.push_back(row_count);
    row_count += codec->level_count();
    made.push_back(std::move(codec));
  }
  std::vector<ComparisonRow> rows(row_count);
  const double share = 1 / static_cast<double>(sample_paths.size());
  for (const std::string& path : sample_paths) {
    ASSIGN_OR_RETURN(const Sample sample, LoadSample(path, /*with_queries=*/true));
    for (size_t i = 0; i < codecs.size(); ++i) {
      const absl::Status status =
          AddSample(sample, codecs[i], *made[i], share,
                    std::span(rows).subspan(first_row[i], made[i]->level_count()));
      if (!status.ok()) return Annotate(status, absl::StrCat(path, ", ", codecs[i]));
    }
  }
  return rows;
}

std::string ComparisonTable(const std::vector<ComparisonRow>& rows) {
  Table table;
  table.AddColumn("codec");
  for (const char* header : {"bits a value", "keys", "values", "ratio", "keys SNR dB",
                             "values SNR dB", "logit error", "output error"}) {
    table.AddColumn(header, Align::kRight);
  }
  for (const ComparisonRow& row : rows) {
    const Distortion& distortion = row.distortion;
    table.AddRow({Name(row), absl::StrFormat("%.3f", row.bits),
                  absl::StrFormat("%.3f", row.keys_bits), absl::StrFormat("%.3f", row.values_bits),
                  absl::StrFormat("%.2f", 16 / row.bits),
                  absl::StrFormat("%.2f", distortion.keys_snr_db),
                  absl::StrFormat("%.2f", distortion.values_snr_db),
                  absl::StrFormat("%.4f", distortion.logit_error),
                  absl::StrFormat("%.4f", distortion.output_error)});
  }
  return table.ToString();
}

std::string ComparisonJson(const std::vector<ComparisonRow>& rows) {
  nlohmann::ordered_json json;
  json["codecs"] = nlohmann::ordered_json::array();
  for (const ComparisonRow& row : rows) {
    json["codecs"].push_back({{"codec", row.codec},
                              {"levels", row.levels},
                              {"bits_per_value", row.bits},
                              {"keys_bits_per_value", row.keys_bits},
                              {"values_bits_per_value", row.values_bits},
                              {"keys_snr_db", row.distortion.keys_snr_db},
                              {"values_snr_db", row.distortion.values_snr_db},
                              {"logit_error", row.distortion.logit_error},
                              {"output_error", row.distortion.output_error}});
  }
  return json.dump(2) + "\n";
}

}  // namespace larder
