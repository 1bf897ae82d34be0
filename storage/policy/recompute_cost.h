// What a model computes for a prompt.
#pragma once

#include <cstdint>

namespace larder {

// The work of a dense transformer for one token at position p: 2 N for N parameters, plus attention
// over the p tokens before it, 4 L d p for L layers of width d (scores and their weighted sum;
// Hoffmann and others, "Training Compute-Optimal Large Language Models", 2022, appendix F; Kaplan
// and others, "Scaling Laws for Neural Language Models", 2020, section 2.1). Divided by 2 N that is
// 1 + p / (N / (2 L d)). The default is Llama 3 8B: 8.03e9 / (2 * 32 * 4096) = 30,600 tokens.
struct CostModel {
  // At this position attention takes as much as all else. Infinite: every token costs the same.
  double attention_equals_rest_tokens = 30'600;

  // The work for tokens [0, tokens), in units of one token without attention.
  double Prefix(double tokens) const {
    return tokens + tokens * tokens / 2 / attention_equals_rest_tokens;
  }
  // The work for tokens [begin, end), given what is before them.
  double Range(double begin, double end) const { return Prefix(end) - Prefix(begin); }
};

}  // namespace larder
