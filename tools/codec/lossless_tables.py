#!/usr/bin/env python3
"""Makes kernels/codec/lossless/lossless_tables.cc: the 16 tables that code exponents.

The tables are for no model: they are the centres of clusters of the exponents, below their channel's
largest, of synthetic channels (Gaussian and Student's t, with means from 0 to 20 standard deviations,
at eight positions between two powers of two). One more is for channels that are like none of these.
"""
import sys

import numpy as np

TABLES = 16
SYMBOLS = 16
SCALE = 1024
TOKENS = 256
CHANNELS = 200
MEANS = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 20)
DEGREES_OF_FREEDOM = (4, 8, 1000)
PHASES = 8
ROUNDS = 30


def histograms(random):
    """Counts of each symbol in each synthetic channel."""
    result = []
    for mean in MEANS:
        for degrees in DEGREES_OF_FREEDOM:
            values = random.standard_t(degrees, size=(CHANNELS, TOKENS)) + mean
            for phase in range(PHASES):
                exponents = np.floor(np.log2(np.abs(values) * 2 ** (phase / PHASES))).astype(int)
                below = exponents.max(axis=1, keepdims=True) - exponents
                symbols = np.minimum(below, SYMBOLS - 1)
                result.append(np.stack([(symbols == s).sum(axis=1) for s in range(SYMBOLS)], axis=1))
    return np.concatenate(result)


def probabilities(counts):
    floor = np.maximum(counts / counts.sum(axis=1, keepdims=True), 1 / SCALE)
    return floor / floor.sum(axis=1, keepdims=True)


def clusters(counts, number, random):
    """Centres that code the counts, each channel by its best one, in few bits (Lloyd)."""
    centres = probabilities(counts[random.choice(len(counts), number, replace=False)] + 1.0)
    for _ in range(ROUNDS):
        best = (counts @ -np.log2(centres).T).argmin(axis=1)
        sums = np.stack([counts[best == c].sum(axis=0) for c in range(number)]).astype(float)
        empty = sums.sum(axis=1) == 0
        sums[empty] = centres[empty]
        centres = probabilities(sums)
    return centres


def frequencies(centre):
    """Integers of at least 1 that sum to SCALE, nearest to the probabilities."""
    result = np.maximum(np.floor(centre * SCALE).astype(int), 1)
    while result.sum() != SCALE:
        step = 1 if result.sum() < SCALE else -1
        result[np.argmax(step * (centre * SCALE - result) * (result + step > 0))] += step
    return result


def main():
    random = np.random.default_rng(1)
    tables = [frequencies(c) for c in clusters(histograms(random), TABLES - 1, random)]
    # From the narrowest to the widest, so that a larger number means more bits.
    tables.sort(key=lambda t: -(t / SCALE * np.log2(t / SCALE)).sum())
    tables.append(np.array([48] * (SYMBOLS - 1) + [SCALE - 48 * (SYMBOLS - 1)]))
    lines = []
    for table in tables:
        text = "{" + ", ".join(str(f) for f in table) + "}"
        lines.append(f"    {{{text}}},")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
