"""Prints default_tables.cc, the table family for models without a profile.

Two shapes (Gaussian, Laplace) of 24 scales each, a standard deviation of 2^-3.5 to 2^2.4 base steps.
"""

import math

SCALES = 24
SYMBOL_MAX = 15


def gaussian(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def laplace(x):
    tail = 0.5 * math.exp(-abs(x) * math.sqrt(2))
    return tail if x < 0 else 1 - tail


def bin_probability(distribution, scale, low, high):
    return distribution(-low / scale) - distribution(-high / scale)  # of the mirrored bin: exact


def ratio(numerator, denominator):
    value = numerator / denominator if denominator > 0 else 0
    return min(65535, round(65536 * value))


def symbol_max(probabilities):
    """Symbols rarer than once in 2^14 are cheaper as patches than as part of the table."""
    common = [k for k in range(1, SYMBOL_MAX + 1) if probabilities[k] > 2.0 ** -14]
    return min(SYMBOL_MAX, max(common, default=0) + 1)


def row(distribution, scale):
    p = [bin_probability(distribution, scale, k - 0.5, k + 0.5) for k in range(SYMBOL_MAX + 1)]
    second = p[2] / p[1] if p[1] > 0 else 0
    third = p[3] / p[2] if p[2] > 0 else 0
    values = [ratio(p[1], p[0]), ratio(p[2], p[1]), ratio(third, second), symbol_max(p),
              0]
    return "    {" + ", ".join(map(str, values)) + "},"


def main():
    print("""// Written by make_default_tables.py.
#include "kernels/codec/larder/table_family.h"

namespace larder {
namespace {

// First the Gaussian shape, then the Laplace one, each from narrow to wide.
constexpr std::array<ProfileTable, kDefaultShapes * kDefaultScales> kDefaultTables = {{""")
    for distribution in (gaussian, laplace):
        for i in range(SCALES):
            print(row(distribution, 2 ** (-3.5 + i / 4 * 1.025)))
    print("""}};

}  // namespace

std::span<const ProfileTable> DefaultTables() { return kDefaultTables; }

}  // namespace larder""")


if __name__ == "__main__":
    main()
