#!/usr/bin/env bash
# Starts a daemon, replays a workload against it with every byte checked, and says what came of it.
# TRACE=FILE replays that too, whose blocks have TOKENS_PER_BLOCK tokens (512). Builds nothing;
# BENCH names larder-bench when it is not the release build's. Exit code non-zero when a byte was
# wrong or anything failed.
set -euo pipefail
# A relative TRACE belongs to the caller's directory.
trace="${TRACE:+$(readlink -f "$TRACE")}"
cd "$(dirname "$(readlink -f "$0")")/../.."
bench="${BENCH:-build/release/bin/larder-bench}"

replay() {
  local failed=0
  "$bench" replay "$@" || failed=1
  echo
  if [ "$failed" -ne 0 ]; then
    echo "The replay FAILED: a byte was wrong or a call failed; see above."
    exit 1
  fi
}

cat <<'TEXT'
Larder keeps what a language model computed while it read a text, so that nobody computes it again.

This demo starts a private daemon with its built-in settings and plays an inference engine:
simulated people chat with a model, and each prompt repeats the conversation so far. For each
prompt the engine asks how much of it is stored, fetches that, and stores the rest.

TEXT
replay --generate conversation --seed 1 --limit 500
cat <<'TEXT'
How to read it: "tokens found" is work that a model without Larder does again. The hit ratio is
their share of all prompt tokens; a conversation's new words can never be found, and the small
arena of the demo forgets the oldest conversations (those are the blocks "evicted"). Nothing was
trusted: the contents of each block follow from its name, so every byte that came back was
compared with what had been stored.
TEXT

if [ -n "$trace" ]; then
  echo
  echo "Now the trace $trace, with a fresh daemon:"
  echo
  replay --trace "$trace" --tokens-per-block "${TOKENS_PER_BLOCK:-512}"
fi
