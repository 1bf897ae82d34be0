#include "daemon/config/reference.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "daemon/config/setting.h"

namespace larder {

std::string ReferenceFile(const Config& config) {
  const Config defaults = DefaultConfig();
  std::string text =
      "# Larder's settings. Those that a file leaves out have their defaults; flags override it.\n"
      "# Sizes: bytes, or \"64KiB\", \"2GiB\". Durations: \"100us\", \"30s\", \"1m30s\".\n";
  absl::string_view section;
  for (const Setting& setting : Settings()) {
    const std::pair<absl::string_view, absl::string_view> name =
        absl::StrSplit(setting.name, absl::MaxSplits('.', 1));
    if (name.first != section) {
      section = name.first;
      absl::StrAppend(&text, "\n[", section, "]\n");
    }
    for (const absl::string_view line : absl::StrSplit(setting.doc, '\n')) {
      absl::StrAppend(&text, "# ", line, "\n");
    }
    const std::string bounds = DescribeBounds(setting);
    absl::StrAppend(&text, "# ", bounds.empty() ? "" : absl::StrCat("Allowed: ", bounds, ". "),
                    "Default: ", FormatSetting(setting, defaults), ".",
                    setting.flag.empty() ? "" : absl::StrCat(" Flag: ", setting.flag, "."), "\n",
                    name.second, " = ", FormatSetting(setting, config), "\n");
  }
  return text;
}

}  // namespace larder
