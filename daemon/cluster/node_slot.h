// How the pure parts of the cluster name nodes: by small numbers.
#pragma once

#include "daemon/index/chunk_event.h"
