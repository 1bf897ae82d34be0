#!/usr/bin/env python3
"""Variants of the quantiser that the larder codec does not have, in numpy, to see what they would do.

quantiser_study.py MODEL.gguf DUMPS_FOLDER PROFILE [--texts a,b]

Steps and means are the profile's. Bits are those of an ideal coder with one table a channel, counted on
the calibration texts, without side information; the first tokens are exact and not counted. So they
compare variants with each other, not with the codec's real bytes.
"""

import argparse
import struct
from pathlib import Path

import numpy as np
import texts
from language_model import LanguageModel, to_bf16
from quality import Dump, Scorer
from sensitivity import EXACT_TOKENS

SYMBOL_MAX = 15
PLANES = 2


class Profile:
    """Base steps and means [layer][plane][head][channel] of a file of docs/formats/codec_larder.md."""

    def __init__(self, path):
        content = Path(path).read_bytes()
        magic, _, planes, _, layers, heads, dim, _, pairs, tables = struct.unpack_from("<4sHBBHHHHHH", content)
        if magic != b"LKVP" or planes != PLANES or layers == 0:
            raise ValueError(f"{path}: not a profile of keys and values with parameters")
        record = np.dtype([("step", "u1", dim), ("table", "u1", dim), ("mean", "<i2", dim)])
        records = np.frombuffer(content, record, offset=20 + 8 * tables + 8 * pairs)
        records = records.reshape(layers, PLANES, heads)
        fine = np.exp2(records["step"] / 8 - 24)
        self.steps = (27 * fine).astype(np.float32)
        self.means = (4 * fine * records["mean"]).astype(np.float32)


def unrotated(model, planes, inverse=True):
    """A copy of planes with the keys turned back, or forward again."""
    result = planes.copy()
    for chunk in range(len(planes)):
        positions = chunk * planes.shape[4] + np.arange(planes.shape[4])
        result[chunk, :, 0] = model.rope.rotate(planes[chunk, :, 0], positions, inverse=inverse)
    return result


def per_channel(values):
    """[layer][plane][head][channel] for planes [chunk][layer][plane][head][token][dim]"""
    return values[None, :, :, :, None, :]


def mean_by_channel(planes):
    return planes[:, :, :, :, EXACT_TOKENS:].mean(axis=(0, 4))


def entropy(counts):
    share = counts / counts.sum(axis=-1, keepdims=True)
    return -(share * np.log2(np.maximum(share, 1e-12))).sum(axis=-1)


class Variant:
    """One quantiser. Learns tables and centroids from calibration planes, turned back, in steps."""

    def __init__(self, profile, calibration, step=1.0, dead_zone=0.5, centroids=False, own_means=False):
        self.profile, self.step, self.dead_zone = profile, step, dead_zone
        self.own_means = own_means
        self.pulls = None
        counts, shifts, sizes = 0, 0, 0
        for planes in calibration:
            scaled, indices = self.quantise(planes, self.centre(planes))
            counts = counts + self.histogram(indices)
            residues = np.sign(indices) * (scaled - indices)
            magnitude = np.minimum(np.abs(indices), 3)
            axes = (0, 4, 5)
            shifts = shifts + np.stack([(residues * (magnitude == m)).sum(axis=axes) for m in range(4)])
            sizes = sizes + np.stack([(magnitude == m).sum(axis=axes) for m in range(4)])
        frequencies = counts + 0.25
        self.costs = -np.log2(np.maximum(frequencies / frequencies.sum(axis=-1, keepdims=True), 2.0**-10))
        if centroids:
            self.pulls = shifts / np.maximum(sizes, 1)
            self.pulls[0] = 0

    def centre(self, planes):
        if not self.own_means:
            return per_channel(self.profile.means)
        return planes.mean(axis=4, keepdims=True)

    def quantise(self, planes, centre):
        scaled = (planes - centre) / per_channel(self.profile.steps * self.step)
        indices = np.rint(scaled).astype(np.int32)
        indices[np.abs(scaled) < self.dead_zone] = 0
        return scaled, indices

    @staticmethod
    def histogram(indices):
        symbols = np.clip(np.moveaxis(indices, 5, 3).reshape(len(indices), -1, indices.shape[4]),
                          -SYMBOL_MAX, SYMBOL_MAX) + SYMBOL_MAX
        symbols = np.moveaxis(symbols, 1, 0).reshape(symbols.shape[1], -1)
        width = 2 * SYMBOL_MAX + 1
        flat = (np.arange(len(symbols))[:, None] * width + symbols).ravel()
        return np.bincount(flat, minlength=len(symbols) * width).reshape(len(symbols), width)

    def code(self, planes):
        """(planes as they come back, bits a value)"""
        centre = self.centre(planes)
        _, indices = self.quantise(planes, centre)
        values = indices.astype(np.float32)
        if self.pulls is not None:
            magnitude = np.minimum(np.abs(indices), 3)
            for m in range(1, 4):
                pull = self.pulls[m][None, :, :, :, None, None]
                values += np.where(magnitude == m, np.sign(indices) * pull, 0)
        bits = (self.histogram(indices) * self.costs).sum() / indices.size
        return (values * per_channel(self.profile.steps * self.step) + centre).astype(np.float32), bits


VARIANTS = {
    "as it is": {},
    "steps 1.1 times as large": {"step": 1.1},
    "dead zone of 0.6 steps": {"dead_zone": 0.6},
    "centroids": {"centroids": True},
    "means of the chunk": {"own_means": True},
}


def print_digits(profile, calibration):
    """Entropy of the three digits, with a table for each channel."""
    fine_counts = [0, 0, 0]
    for planes in calibration:
        fine = np.rint((planes - per_channel(profile.means)) / per_channel(profile.steps / 27)).astype(np.int64)
        for level in range(3):
            unit = 3 ** (2 - level)
            digit = (fine + unit // 2) // unit
            digit = digit - 3 * ((digit + 1) // 3)
            counts = np.stack([(digit == d).sum(axis=(0, 4)) for d in (-1, 0, 1)], axis=-1)
            fine_counts[level] = fine_counts[level] + counts
    for level, counts in enumerate(fine_counts, start=1):
        print(f"digit of E{level}: {entropy(counts).mean():.4f} bits")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("dumps_folder")
    parser.add_argument("profile")
    parser.add_argument("--texts", default="essay,history,python,cpp,play,chat")
    parser.add_argument("--context-chunks", type=int, default=6)
    parser.add_argument("--scored-tokens", type=int, default=511)
    arguments = parser.parse_args()
    model = LanguageModel(arguments.model)
    profile = Profile(arguments.profile)
    folder = arguments.dumps_folder
    # The first chunk's first tokens are exact in the codec: later chunks alone say what is coded.
    calibration = [unrotated(model, Dump(folder, name).planes())[1::2] for name in texts.CALIBRATION]
    print_digits(profile, calibration)
    variants = {name: Variant(profile, calibration, **choice) for name, choice in VARIANTS.items()}
    results = {name: [] for name in variants}
    for name in arguments.texts.split(","):
        scorer = Scorer(model, Dump(folder, name), arguments.context_chunks, arguments.scored_tokens)
        planes = unrotated(model, scorer.context)
        for label, variant in variants.items():
            decoded, bits = variant.code(planes)
            decoded = to_bf16(unrotated(model, decoded, inverse=False))
            decoded[0, :, :, :, :EXACT_TOKENS] = scorer.context[0, :, :, :, :EXACT_TOKENS]
            results[label].append((bits, scorer.score(decoded)[0]))
    for label, rows in results.items():
        bits, divergence = np.mean(rows, axis=0)
        print(f"{label:26} {bits:.3f} bits, KL {divergence:.4f}")


if __name__ == "__main__":
    main()
