"""Scores a text's end on a KV cache of its beginning, to see what a codec's loss does to the model."""

import json
from pathlib import Path

import numpy as np
from language_model import from_bf16_bytes


class Dump:
    """What dump_kv.py wrote for one text."""

    def __init__(self, folder, name):
        self.name = name
        self.base = Path(folder) / name
        self.about = json.loads(Path(f"{self.base}.json").read_text())
        self.tokens = np.fromfile(f"{self.base}.tokens", dtype="<u4").astype(np.int64)

    def planes_shape(self):
        """[chunk][layer][keys, values][head][token][dim]"""
        about = self.about
        return (about["chunks"], about["layers"], 2, about["kv_heads"], about["chunk_tokens"],
                about["head_dim"])

    def planes(self):
        """float32, of planes_shape"""
        return from_bf16_bytes(np.fromfile(f"{self.base}.kv", dtype="<u2")).reshape(self.planes_shape())


class Scorer:
    """Next-token distributions after a context of whole chunks, against those with the exact cache."""

    def __init__(self, model, dump, context_chunks, scored_tokens):
        self.model = model
        first = context_chunks * dump.about["chunk_tokens"]
        self.input = dump.tokens[first:first + scored_tokens]
        self.target = dump.tokens[first + 1:first + scored_tokens + 1]
        self.context = dump.planes()[:context_chunks]
        self.exact = self._log_probabilities(self.context)
        self.exact_loss = self._loss(self.exact)

    def _log_probabilities(self, planes):
        past = [tuple(np.concatenate(list(planes[:, layer, plane]), axis=1) for plane in range(2))
                for layer in range(planes.shape[1])]
        hidden, _ = self.model.forward(self.input, past)
        return self.model.log_probabilities(hidden)

    def _loss(self, log_probabilities):
        return float(-log_probabilities[np.arange(len(self.target)), self.target].mean())

    def score(self, planes):
        """Planes as `context` -> (mean KL divergence in nats of exact from these, change of loss in nats)."""
        log_probabilities = self._log_probabilities(planes)
        divergence = (np.exp(self.exact) * (self.exact - log_probabilities)).sum(axis=1).mean()
        return float(divergence), self._loss(log_probabilities) - self.exact_loss
