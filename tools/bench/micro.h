// The figures of one node, each next to what it is compared with.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/client.h"

namespace larder {

struct MicroOptions {
  // Parts to run, by name (kMicroParts); empty: all.
  std::vector<std::string> only;
  // Small sizes and few rounds: shows that the benchmark works, its figures mean little.
  bool quick = false;
  // How much the restart part stores; its arena lies in /dev/shm.
  uint64_t restart_gib = 8;
  // Path of larderd; empty: as PrivateDaemonOptions.
  std::string larderd;
  // Told what is being measured now.
  std::function<void(absl::string_view)> on_step;
};

// For help texts.
inline constexpr absl::string_view kMicroParts = "copy_1mib, copy_8mib, view, match, restart";

enum class GoalKind { kAtLeast, kAtMost };

// A figure with a goal; docs/BENCHMARKS.md says how each is measured.
struct MicroFigure {
  std::string name;
  double value = 0;
  GoalKind goal_kind = GoalKind::kAtMost;
  double goal = 0;
  std::string limited_by;

  bool reached() const { return goal_kind == GoalKind::kAtLeast ? value >= goal : value <= goal; }
};

// What a figure was made of, and what else was seen on the way.
struct RawFigure {
  std::string name;
  double value = 0;
};

// What a run was made with, in words.
struct RunSetting {
  std::string name;
  std::string value;
};

class MicroReport {
 public:
  void AddAtLeast(std::string name, double value, double goal, std::string limited_by) {
    figures_.push_back({std::move(name), value, GoalKind::kAtLeast, goal, std::move(limited_by)});
  }
  void AddAtMost(std::string name, double value, double goal, std::string limited_by) {
    figures_.push_back({std::move(name), value, GoalKind::kAtMost, goal, std::move(limited_by)});
  }
  void AddRaw(std::string name, double value) { raw_.push_back({std::move(name), value}); }
  void AddSetting(std::string name, std::string value) {
    settings_.push_back({std::move(name), std::move(value)});
  }

  const std::vector<MicroFigure>& figures() const { return figures_; }
  const std::vector<RawFigure>& raw() const { return raw_; }
  const std::vector<RunSetting>& settings() const { return settings_; }

 private:
  std::vector<MicroFigure> figures_;
  std::vector<RawFigure> raw_;
  std::vector<RunSetting> settings_;
};

// Runs the parts one after another, each with a private daemon of its own. INVALID_ARGUMENT for an
// unknown part; DATA_LOSS when a byte came back wrong; else the first failure.
absl::StatusOr<MicroReport> RunMicro(const MicroOptions& options);

}  // namespace larder
