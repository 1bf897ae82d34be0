// larder-codec: encodes and decodes samples of a KV cache, makes profiles, compares codecs.
// Exit codes: 0 done, 1 something failed, 2 bad usage or bad input.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "tools/codec/comparison.h"
#include "tools/codec/encoded_sample.h"
#include "tools/codec/profile_maker.h"
#include "tools/codec/sample.h"

namespace larder {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr size_t kSamplesMax = 4096;

struct Flags {
  std::string input, output, codec = "larder", profile, sensitivity, plot;
  std::vector<std::string> samples;
  std::vector<std::string> codecs = {"lossless", "larder", "cachegen", "kivi2", "kivi4"};
  uint32_t levels = kCodecLevelsMax;
  uint32_t split_tokens = 0;
  bool json = false;
  ProfileOptions profile_options;
};

absl::Status WriteText(const std::string& path, const std::string& text) {
  return WriteFileBytes(path, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

absl::Status Encode(const Flags& flags) {
  ASSIGN_OR_RETURN(const auto profile, LoadProfile(flags.profile));
  ASSIGN_OR_RETURN(const auto codec, MakeCodecByName(flags.codec, profile, flags.split_tokens));
  ASSIGN_OR_RETURN(const Sample sample, LoadSample(flags.input, /*with_queries=*/false));
  ASSIGN_OR_RETURN(const EncodedSample encoded, EncodeSample(sample, flags.codec, *codec));
  return WriteFileBytes(flags.output, SerializeEncodedSample(encoded));
}

absl::StatusOr<EncodedSample> LoadEncoded(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, ReadFileBytes(path));
  absl::StatusOr<EncodedSample> encoded = ParseEncodedSample(bytes);
  return encoded.ok() ? std::move(encoded) : Annotate(encoded.status(), path);
}

absl::Status Decode(const Flags& flags) {
  ASSIGN_OR_RETURN(const EncodedSample encoded, LoadEncoded(flags.input));
  ASSIGN_OR_RETURN(const auto profile, LoadProfile(flags.profile));
  ASSIGN_OR_RETURN(const auto codec, MakeCodecByName(encoded.codec, profile));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> planes,
                   DecodeSample(encoded, *codec, std::min(flags.levels, encoded.levels)));
  return WriteFileBytes(flags.output, planes);
}

absl::Status Inspect(const Flags& flags) {
  ASSIGN_OR_RETURN(const EncodedSample encoded, LoadEncoded(flags.input));
  const SampleShape& shape = encoded.shape;
  const double values = static_cast<double>(shape.Values());
  nlohmann::ordered_json json = {{"codec", encoded.codec},
                                 {"model", shape.model},
                                 {"text", shape.text},
                                 {"chunks", shape.chunks},
                                 {"tokens_per_chunk", shape.geometry.tokens},
                                 {"layers", shape.layers},
                                 {"kv_heads", shape.geometry.heads},
                                 {"head_dim", shape.geometry.head_dim}};
  json["levels"] = nlohmann::ordered_json::array();
  for (uint32_t levels = 1; levels <= encoded.levels; ++levels) {
    const uint64_t keys = encoded.RunBytes(PlaneKind::kKey, levels);
    const uint64_t run_bytes = keys + encoded.RunBytes(PlaneKind::kValue, levels);
    const uint64_t container_bytes = encoded.ContainerBytes(levels);
    json["levels"].push_back(
        {{"levels", levels},
         {"keys_bytes", keys},
         {"values_bytes", run_bytes - keys},
         {"container_bytes", container_bytes},
         {"bits_per_value", static_cast<double>(container_bytes) * 8 / values}});
  }
  std::puts(json.dump(2).c_str());
  return absl::OkStatus();
}

absl::Status WriteProfile(const Flags& flags) {
  Sensitivity sensitivity;
  if (!flags.sensitivity.empty()) {
    ASSIGN_OR_RETURN(const std::vector<uint8_t> text, ReadFileBytes(flags.sensitivity));
    ASSIGN_OR_RETURN(sensitivity, ParseSensitivity(std::string(text.begin(), text.end())));
  }
  ASSIGN_OR_RETURN(const std::vector<uint8_t> profile,
                   MakeProfile(flags.samples, sensitivity, flags.profile_options));
  return WriteFileBytes(flags.output, profile);
}

absl::Status RunComparison(const Flags& flags) {
  ASSIGN_OR_RETURN(const auto profile, LoadProfile(flags.profile));
  ASSIGN_OR_RETURN(const std::vector<ComparisonRow> rows,
                   Compare(flags.samples, flags.codecs, profile));
  std::fputs((flags.json ? ComparisonJson(rows) : ComparisonTable(rows)).c_str(), stdout);
  return flags.plot.empty() ? absl::OkStatus() : WriteText(flags.plot, ComparisonPlot(rows));
}

void DeclareProfile(CLI::App* app, Flags& flags) {
  app->add_option("--profile", flags.profile, "Profile of the larder codec (generic when absent)")
      ->type_name("FILE");
}

void DeclareFiles(CLI::App* app, const char* input_help, Flags& flags) {
  app->add_option("input", flags.input, input_help)->required()->type_name("FILE");
  app->add_option("--output,-o", flags.output, "Where the result goes")
      ->required()
      ->type_name("FILE");
}

void DeclareSamples(CLI::App* app, Flags& flags) {
  app->add_option("samples", flags.samples, "The samples' .json files")
      ->required()
      ->expected(1, static_cast<int>(kSamplesMax))
      ->type_name("FILE");
}

void DeclareProfileMaker(CLI::App* app, Flags& flags) {
  DeclareSamples(app, flags);
  ProfileOptions& options = flags.profile_options;
  app->add_option("--output,-o", flags.output, "The profile")->required()->type_name("FILE");
  app->add_option("--sensitivity", flags.sensitivity,
                  "What noise in each layer does (tools/codec/sensitivity.py)")
      ->type_name("FILE");
  app->add_option("--base-step", options.base_step, "Of the base level, in standard deviations")
      ->check(CLI::Range(0.01, 10.0))
      ->capture_default_str();
  app->add_option("--sensitivity-power", options.sensitivity_power, "0: layers are alike")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app->add_option("--query-power", options.query_power, "0: channels of a head are alike")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app->add_flag("!--keep-rotation", options.undo_rotation,
                "Do not undo the keys' rotary embedding");
}

int Run(int argc, char** argv) {
  CLI::App app{"Encodes and decodes samples of a KV cache, makes profiles, compares codecs."};
  app.require_subcommand(1);
  Flags flags;
  CLI::App* encode = app.add_subcommand("encode", "A sample to the runs of a codec");
  DeclareFiles(encode, "The sample's .json file", flags);
  DeclareProfile(encode, flags);
  encode->add_option("--codec", flags.codec, kCodecNames)->capture_default_str();
  encode->add_option("--split-tokens", flags.split_tokens,
                     "Codec larder: so many tokens between split points (0: none)");
  CLI::App* decode = app.add_subcommand("decode", "Back to planes, as the sample's .kv file");
  DeclareFiles(decode, "What encode wrote", flags);
  DeclareProfile(decode, flags);
  decode->add_option("--levels", flags.levels, "So many levels from the base on (all)")
      ->check(CLI::Range(1u, kCodecLevelsMax));
  CLI::App* inspect = app.add_subcommand("inspect", "What an encoded sample holds, as JSON");
  inspect->add_option("input", flags.input, "What encode wrote")->required()->type_name("FILE");
  CLI::App* profile = app.add_subcommand("profile", "Makes a profile of the larder codec");
  DeclareProfileMaker(profile, flags);
  CLI::App* compare = app.add_subcommand("compare", "Rate and distortion of codecs on samples");
  DeclareSamples(compare, flags);
  DeclareProfile(compare, flags);
  compare->add_option("--codecs", flags.codecs, kCodecNames)->delimiter(',')->capture_default_str();
  compare->add_flag("--json", flags.json, "Print one JSON object instead of a table");
  compare->add_option("--plot", flags.plot, "Also draw rates and errors as SVG")->type_name("FILE");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  const absl::Status status = *encode    ? Encode(flags)
                              : *decode  ? Decode(flags)
                              : *inspect ? Inspect(flags)
                              : *profile ? WriteProfile(flags)
                                         : RunComparison(flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "larder-codec: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitFailure;
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) { return larder::Run(argc, argv); }
