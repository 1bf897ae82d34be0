#!/usr/bin/env python3
"""Measures how much a model minds noise in each layer's keys and values, for `larder-codec profile`.

sensitivity.py MODEL.gguf DUMPS_FOLDER OUTPUT.json [--texts a,b]

One plane at a time gets Gaussian noise of --noise standard deviations of its head (of the keys before
the rotary embedding, without the channels' means), except in the first tokens, which the codec keeps
exact. What counts is the mean KL divergence of the next-token distributions over the calibration texts.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import texts
from language_model import LanguageModel
from quality import Dump, Scorer

EXACT_TOKENS = 4


def deviations(model, planes):
    """[layer][plane][head] standard deviation about the channels' means, keys before rotation."""
    planes = planes.copy()
    chunk_tokens = planes.shape[4]
    for chunk in range(len(planes)):
        positions = chunk * chunk_tokens + np.arange(chunk_tokens)
        planes[chunk, :, 0] = model.rope.rotate(planes[chunk, :, 0], positions, inverse=True)
    tokens = np.concatenate(list(planes), axis=3)[:, :, :, EXACT_TOKENS:]
    return (tokens - tokens.mean(axis=3, keepdims=True)).std(axis=(3, 4))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("dumps_folder")
    parser.add_argument("output")
    parser.add_argument("--texts", default=",".join(texts.CALIBRATION))
    parser.add_argument("--noise", type=float, default=0.35)
    parser.add_argument("--context-chunks", type=int, default=4)
    parser.add_argument("--scored-tokens", type=int, default=256)
    arguments = parser.parse_args()
    model = LanguageModel(arguments.model)
    random = np.random.default_rng(1)
    divergences = []
    for name in arguments.texts.split(","):
        dump = Dump(arguments.dumps_folder, name)
        scorer = Scorer(model, dump, arguments.context_chunks, arguments.scored_tokens)
        sizes = arguments.noise * deviations(model, scorer.context)
        result = np.zeros((model.shape.layers, 2))
        for layer in range(model.shape.layers):
            for plane in range(2):
                noisy = scorer.context.copy()
                target = noisy[:, layer, plane]
                noise = random.standard_normal(target.shape, dtype=np.float32)
                noise *= sizes[layer, plane][None, :, None, None]
                noise[0, :, :EXACT_TOKENS] = 0
                target += noise
                result[layer, plane] = scorer.score(noisy)[0]
        divergences.append(result)
        print(f"{name}: keys {result[:, 0].sum():.4f}, values {result[:, 1].sum():.4f}", flush=True)
    mean = np.mean(divergences, axis=0)
    description = {
        "model": model.name, "noise": arguments.noise, "texts": arguments.texts.split(","),
        "keys": [float(f"{value:.4g}") for value in mean[:, 0]],
        "values": [float(f"{value:.4g}") for value in mean[:, 1]],
    }
    Path(arguments.output).write_text(json.dumps(description, indent=1) + "\n")


if __name__ == "__main__":
    main()
