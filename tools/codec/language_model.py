"""A small Llama-architecture language model in numpy, read from a GGUF file.

It is written for looking at the KV cache, not for speed: the forward pass takes the keys and values of
the tokens before it as plain arrays, so that they can be sent through a codec in between. Heads are in
the order of the original checkpoint (rotary pairs are channel i and i + half), which is what serving
engines keep in their caches; GGUF stores interleaved pairs and is undone on loading.
"""

import dataclasses

import numpy as np
from gguf import GGUFReader, dequantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers


def to_bf16(values):
    """Rounds to the nearest bfloat16, ties to even; returns float32."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def bf16_bytes(values):
    """The 16-bit patterns of values that are bfloat16 already."""
    return (np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) >> 16).astype("<u2")


def from_bf16_bytes(patterns):
    return (patterns.astype(np.uint32) << 16).view(np.float32)


@dataclasses.dataclass
class Shape:
    layers: int
    query_heads: int
    kv_heads: int
    head_dim: int
    width: int
    rope_base: float
    norm_epsilon: float


@dataclasses.dataclass
class Cache:
    """Keys and values of one layer as the cache holds them, [kv head][token][dim], and before rotation."""

    keys: np.ndarray
    values: np.ndarray
    unrotated_keys: np.ndarray
    queries: np.ndarray  # [query head][token][dim], rotated


class RopeTable:
    """cos and sin of position x frequency, in float32 from float64 angles."""

    def __init__(self, head_dim, base):
        self.inverse_frequencies = base ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)

    def angles(self, positions):
        angles = np.asarray(positions, dtype=np.float64)[:, None] * self.inverse_frequencies[None, :]
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def rotate(self, heads, positions, inverse=False):
        """heads [head][token][dim]; pairs are (i, i + dim / 2)."""
        cosine, sine = self.angles(positions)
        if inverse:
            sine = -sine
        half = heads.shape[-1] // 2
        low, high = heads[..., :half], heads[..., half:]
        return np.concatenate([low * cosine - high * sine, high * cosine + low * sine], axis=-1)


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


class LanguageModel:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.fields = reader.fields
        if self._field("general.architecture") != "llama":
            raise ValueError(f"{path}: architecture {self._field('general.architecture')!r} is not llama")
        query_heads = self._field("llama.attention.head_count")
        width = self._field("llama.embedding_length")
        self.shape = Shape(
            layers=self._field("llama.block_count"),
            query_heads=query_heads,
            kv_heads=self._field("llama.attention.head_count_kv"),
            head_dim=width // query_heads,
            width=width,
            rope_base=self._field("llama.rope.freq_base"),
            norm_epsilon=self._field("llama.attention.layer_norm_rms_epsilon"),
        )
        self.name = self._field("general.name")
        self.rope = RopeTable(self.shape.head_dim, self.shape.rope_base)
        weights = {t.name: dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
        self.embedding = weights["token_embd.weight"]
        self.output = weights.get("output.weight", self.embedding)
        self.output_norm = weights["output_norm.weight"]
        self.blocks = [self._block(weights, layer) for layer in range(self.shape.layers)]

    def _field(self, name):
        return self.fields[name].contents()

    def _block(self, weights, layer):
        prefix = f"blk.{layer}."
        block = {
            name: weights[f"{prefix}{name}.weight"]
            for name in ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output",
                         "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
        }
        block["attn_q"] = self._undo_interleaving(block["attn_q"], self.shape.query_heads)
        block["attn_k"] = self._undo_interleaving(block["attn_k"], self.shape.kv_heads)
        return block

    def _undo_interleaving(self, rows, heads):
        half = self.shape.head_dim // 2
        return rows.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(rows.shape)

    def _norm(self, hidden, weight):
        scale = np.sqrt((hidden * hidden).mean(axis=-1, keepdims=True) + self.shape.norm_epsilon)
        return hidden / scale * weight

    def _heads(self, rows, count):
        return rows.reshape(len(rows), count, self.shape.head_dim).swapaxes(0, 1)

    def _attention(self, queries, keys, values, first):
        """Causal attention of queries at positions first.. over keys at positions 0.."""
        group = self.shape.query_heads // self.shape.kv_heads
        tokens, total = queries.shape[1], keys.shape[1]
        hidden_future = np.arange(total)[None, :] > (first + np.arange(tokens))[:, None]
        outputs = np.empty_like(queries)
        for head in range(self.shape.query_heads):
            scores = queries[head] @ keys[head // group].T
            scores *= np.float32(self.shape.head_dim**-0.5)
            scores[hidden_future] = -np.inf
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            outputs[head] = scores @ values[head // group]
        return outputs.swapaxes(0, 1).reshape(tokens, -1)

    def forward(self, tokens, past=None, keep=False):
        """Runs tokens that follow `past`, a list of (keys, values) a layer or None.

        Returns the last hidden states [token][width] and, with keep, a Cache a layer of these tokens
        whose keys and values are rounded to bfloat16, as an engine's cache would hold them; attention
        uses the rounded ones.
        """
        first = past[0][0].shape[1] if past is not None else 0
        positions = first + np.arange(len(tokens))
        hidden = self.embedding[np.asarray(tokens)]
        caches = []
        for layer, block in enumerate(self.blocks):
            normed = self._norm(hidden, block["attn_norm"])
            queries = self.rope.rotate(self._heads(normed @ block["attn_q"].T, self.shape.query_heads),
                                       positions)
            unrotated = self._heads(normed @ block["attn_k"].T, self.shape.kv_heads)
            keys = to_bf16(self.rope.rotate(unrotated, positions))
            values = to_bf16(self._heads(normed @ block["attn_v"].T, self.shape.kv_heads))
            if keep:
                caches.append(Cache(keys, values, to_bf16(unrotated), to_bf16(queries)))
            if past is not None:
                keys = np.concatenate([past[layer][0], keys], axis=1)
                values = np.concatenate([past[layer][1], values], axis=1)
            hidden = hidden + self._attention(queries, keys, values, first) @ block["attn_output"].T
            normed = self._norm(hidden, block["ffn_norm"])
            gate = normed @ block["ffn_gate"].T
            gate *= 1.0 / (1.0 + np.exp(-gate))
            hidden = hidden + (gate * (normed @ block["ffn_up"].T)) @ block["ffn_down"].T
        return hidden, caches

    def log_probabilities(self, hidden):
        return log_softmax(self._norm(hidden, self.output_norm) @ self.output.T)

    def tokenizer(self):
        """Byte-level BPE from the file's own vocabulary and merges; digits are split one by one."""
        tokens = self._field("tokenizer.ggml.tokens")
        kinds = self._field("tokenizer.ggml.token_type")
        merges = [tuple(merge.split(" ")) for merge in self._field("tokenizer.ggml.merges")]
        tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
        tokenizer.decoder = decoders.ByteLevel()
        control = 3
        tokenizer.add_special_tokens([t for t, kind in zip(tokens, kinds) if kind == control])
        return tokenizer
