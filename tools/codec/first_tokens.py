#!/usr/bin/env python3
"""Measures how much of the loss comes from the first tokens of a sequence, which models attend to always.

first_tokens.py MODEL.gguf DUMPS_FOLDER [--texts a,b]

All planes get the noise of sensitivity.py at once: everywhere, everywhere but in the first tokens, and in
the first tokens alone.
"""

import argparse

import numpy as np
import texts
from language_model import LanguageModel
from quality import Dump, Scorer
from sensitivity import EXACT_TOKENS, deviations


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("dumps_folder")
    parser.add_argument("--texts", default=",".join(texts.EVALUATION))
    parser.add_argument("--noise", type=float, default=0.35)
    parser.add_argument("--context-chunks", type=int, default=4)
    parser.add_argument("--scored-tokens", type=int, default=256)
    arguments = parser.parse_args()
    model = LanguageModel(arguments.model)
    random = np.random.default_rng(1)
    results = []
    for name in arguments.texts.split(","):
        scorer = Scorer(model, Dump(arguments.dumps_folder, name), arguments.context_chunks,
                        arguments.scored_tokens)
        sizes = arguments.noise * deviations(model, scorer.context)[None, :, :, :, None, None]
        noise = random.standard_normal(scorer.context.shape, dtype=np.float32) * sizes.astype(np.float32)
        first = np.zeros(noise.shape, dtype=bool)
        first[0, :, :, :, :EXACT_TOKENS] = True
        results.append([scorer.score(scorer.context + noise * part)[0] for part in (1, ~first, first)])
    everywhere, others, alone = np.mean(results, axis=0)
    print(f"KL with noise everywhere {everywhere:.4f}, but in the first {EXACT_TOKENS} tokens {others:.4f}, "
          f"in those alone {alone:.4f}")


if __name__ == "__main__":
    main()
