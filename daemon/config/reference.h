// The configuration file that says what is so without one.
#pragma once

#include <string>

#include "daemon/config/config.h"

namespace larder {

// Every setting with its value in `config`, and a comment on its meaning, bounds and default.
std::string ReferenceFile(const Config& config);

}  // namespace larder
