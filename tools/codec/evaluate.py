#!/usr/bin/env python3
"""What codecs cost and what they do to a model: real bytes, next-token KL divergence and perplexity.

evaluate.py LARDER_CODEC MODEL.gguf DUMPS_FOLDER [--profile FILE] [--codecs a,b] ...

For each text the first --context-chunks chunks go through `larder-codec encode` and `decode`, and the
tokens after them are scored on the result. KL is of the exact bfloat16 cache's distributions from the
decoded one's, in nats; bits a value count the container, side information and all.
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import texts
from language_model import LanguageModel, from_bf16_bytes, to_bf16
from quality import Dump, Scorer

LEVEL_NAMES = ["base", "E1", "E2", "E3"]


def to_fp8(values):
    """Rounds to fp8 e4m3, ties to even, saturating at 448."""
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(values), 2.0**-10))), -6)
    unit = np.exp2(exponent - 3)
    return np.clip(np.rint(values / unit) * unit, -448, 448).astype(np.float32)


def fp8_storage(planes, scaled):
    """As an engine's fp8 cache: one scale a layer's keys or values, or none."""
    scale = np.abs(planes).max(axis=(0, 3, 4, 5), keepdims=True) / 448 if scaled else 1
    return to_bf16(to_fp8(planes / scale) * scale)


class Tool:
    """larder-codec on one text at a time, through files in a temporary folder."""

    def __init__(self, program, profile, folder, levels_max):
        self.program, self.folder, self.levels_max = program, Path(folder), levels_max
        self.profile = ["--profile", profile] if profile else []

    def run(self, *arguments):
        result = subprocess.run([self.program, *map(str, arguments)], check=True, capture_output=True)
        return result.stdout

    def levels(self, dump, codec):
        """(levels, bits a value, decoded planes) for each number of levels."""
        encoded, decoded = self.folder / "encoded", self.folder / "decoded"
        self.run("encode", f"{dump.base}.json", "-o", encoded, "--codec", codec, *self.profile)
        for level in json.loads(self.run("inspect", encoded))["levels"][:self.levels_max]:
            self.run("decode", encoded, "-o", decoded, "--levels", level["levels"], *self.profile)
            planes = from_bf16_bytes(np.fromfile(decoded, dtype="<u2")).reshape(dump.planes_shape())
            yield level["levels"], level["bits_per_value"], planes


def name_of(codec, levels):
    return f"larder {LEVEL_NAMES[levels - 1]}" if codec == "larder" else codec


def evaluate_text(tool, scorer, dump, codecs):
    """{name: (bits, KL, change of loss)}"""
    results = {}
    chunks = len(scorer.context)
    for codec in codecs:
        if codec.startswith("fp8"):
            planes = fp8_storage(scorer.context, scaled=codec == "fp8 scaled")
            results[codec] = (8.0, *scorer.score(planes))
            continue
        for levels, bits, planes in tool.levels(dump, codec):
            results[name_of(codec, levels)] = (bits, *scorer.score(planes[:chunks]))
    return results


def summary(per_text):
    """Rows of (name, bits, KL, largest KL of a text, perplexity ratio), means over the texts."""
    rows = []
    for name in next(iter(per_text.values())):
        bits, divergence, loss = np.array([results[name] for results in per_text.values()]).T
        rows.append((name, bits.mean(), divergence.mean(), divergence.max(), math.exp(loss.mean())))
    return rows


def print_table(rows):
    print("| codec | bits a value | ratio | KL, nats | worst text | perplexity |")
    print("|---|---|---|---|---|---|")
    for name, bits, divergence, worst, ratio in rows:
        print(f"| {name} | {bits:.3f} | {16 / bits:.2f} | {divergence:.5f} | {worst:.5f} "
              f"| {100 * (ratio - 1):+.2f}% |")


def plot(rows, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "larder"})
    figure, axes = pyplot.subplots(figsize=(7.6, 4.8))
    for family in dict.fromkeys(row[0].split()[0] for row in rows):
        points = [(row[1], row[2]) for row in rows if row[0].split()[0] == family and row[2] > 0]
        if points:
            axes.plot(*zip(*points), marker="o", label=family)
    axes.set_yscale("log")
    axes.set_xlabel("bits a value, all told")
    axes.set_ylabel("KL divergence of the next token, nats")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("larder_codec")
    parser.add_argument("model")
    parser.add_argument("dumps_folder")
    parser.add_argument("--profile", help="of the larder codec; the generic one when absent")
    parser.add_argument("--texts", default=",".join(texts.EVALUATION))
    parser.add_argument("--codecs", default="fp8,fp8 scaled,lossless,larder,cachegen,kivi2,kivi4")
    parser.add_argument("--levels", type=int, default=len(LEVEL_NAMES), help="up to so many levels")
    parser.add_argument("--context-chunks", type=int, default=6)
    parser.add_argument("--scored-tokens", type=int, default=511)
    parser.add_argument("--json", help="write the figures of every text here")
    parser.add_argument("--plot", help="write a picture of rates and divergences here (.svg, .png)")
    arguments = parser.parse_args()
    model = LanguageModel(arguments.model)
    per_text = {}
    with tempfile.TemporaryDirectory() as folder:
        tool = Tool(arguments.larder_codec, arguments.profile, folder, arguments.levels)
        for name in arguments.texts.split(","):
            dump = Dump(arguments.dumps_folder, name)
            scorer = Scorer(model, dump, arguments.context_chunks, arguments.scored_tokens)
            per_text[name] = evaluate_text(tool, scorer, dump, arguments.codecs.split(","))
            if arguments.json:
                Path(arguments.json).write_text(json.dumps(per_text, indent=1) + "\n")
    rows = summary(per_text)
    print_table(rows)
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
