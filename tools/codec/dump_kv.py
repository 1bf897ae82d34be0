#!/usr/bin/env python3
"""Writes the keys, values and queries of a language model over texts, for measuring codecs.

dump_kv.py MODEL.gguf TEXTS_FOLDER OUTPUT_FOLDER [--tokens 2048] [--chunk-tokens 256] [--texts a,b]
           [--layers 0,4,18]

For each text, all little-endian and without headers:
  NAME.kv         bfloat16 [chunk][layer][keys, values][kv head][token][dim], as in a raw container
  NAME.unrotated  bfloat16 [chunk][layer][kv head][token][dim]: keys before the rotary embedding
  NAME.queries    bfloat16 [chunk][layer][query head][token][dim], rotated
  NAME.tokens     uint32 [token]
  NAME.json       shape, source and perplexity of the text
"""

import argparse
import json
from pathlib import Path

import numpy as np
import texts
from language_model import LanguageModel, bf16_bytes


def chunked(planes, chunk_tokens):
    """[..., token, dim] of all layers to [chunk][...][token][dim]."""
    stacked = np.stack(planes)
    *lead, tokens, dim = stacked.shape
    split = stacked.reshape(*lead, tokens // chunk_tokens, chunk_tokens, dim)
    return np.moveaxis(split, -3, 0)


def dump(model, tokenizer, name, arguments):
    text = texts.load(name, arguments.texts_folder)
    tokens = tokenizer.encode(text).ids[:arguments.tokens]
    if len(tokens) < arguments.tokens:
        raise ValueError(f"{name}: {len(tokens)} tokens, fewer than {arguments.tokens}")
    hidden, caches = model.forward(tokens, keep=True)
    log_probabilities = model.log_probabilities(hidden[:-1])
    perplexity = float(np.exp(-log_probabilities[np.arange(len(tokens) - 1), tokens[1:]].mean()))

    layers = arguments.layers or list(range(model.shape.layers))
    caches = [caches[layer] for layer in layers]
    base = Path(arguments.output_folder) / name
    pairs = [np.stack([cache.keys, cache.values]) for cache in caches]
    bf16_bytes(chunked(pairs, arguments.chunk_tokens)).tofile(f"{base}.kv")
    unrotated = [cache.unrotated_keys for cache in caches]
    bf16_bytes(chunked(unrotated, arguments.chunk_tokens)).tofile(f"{base}.unrotated")
    queries = [cache.queries for cache in caches]
    bf16_bytes(chunked(queries, arguments.chunk_tokens)).tofile(f"{base}.queries")
    np.asarray(tokens, dtype="<u4").tofile(f"{base}.tokens")

    kind, package, _ = {**texts.EVALUATION, **texts.CALIBRATION}[name]
    shape = model.shape
    description = {
        "model": model.name, "text": name, "kind": kind, "package": package,
        "set": "evaluation" if name in texts.EVALUATION else "calibration",
        "element_type": "bf16", "layers": len(layers), "model_layers": layers, "kv_heads": shape.kv_heads,
        "query_heads": shape.query_heads, "head_dim": shape.head_dim, "rope_base": shape.rope_base,
        "rope_style": "halves", "chunk_tokens": arguments.chunk_tokens,
        "chunks": len(tokens) // arguments.chunk_tokens, "perplexity": perplexity,
    }
    Path(f"{base}.json").write_text(json.dumps(description, indent=1) + "\n")
    print(f"{name:12} {kind:9} {len(text) / len(tokenizer.encode(text).ids):5.2f} characters a token, "
          f"perplexity {perplexity:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("texts_folder")
    parser.add_argument("output_folder")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--chunk-tokens", type=int, default=256)
    parser.add_argument("--texts", help="comma-separated; all when absent")
    parser.add_argument("--layers", type=lambda text: [int(layer) for layer in text.split(",")],
                        help="comma-separated; all when absent")
    arguments = parser.parse_args()
    if arguments.tokens % arguments.chunk_tokens:
        parser.error("--tokens must be a multiple of --chunk-tokens")
    Path(arguments.output_folder).mkdir(parents=True, exist_ok=True)
    model = LanguageModel(arguments.model)
    names = arguments.texts.split(",") if arguments.texts else [*texts.EVALUATION, *texts.CALIBRATION]
    for name in names:
        dump(model, model.tokenizer(), name, arguments)


if __name__ == "__main__":
    main()
