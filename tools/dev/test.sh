#!/usr/bin/env bash
# test.sh release: builds everything and runs every test.
# test.sh asan:    builds and runs the tests labelled fast, under Address- and UBSanitizer.
# test.sh tsan:    builds and runs the tests labelled thread, under ThreadSanitizer.
# JOBS (2 by default) bounds the compile jobs. Tests run one at a time: some measure time.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

preset="${1:?usage: test.sh release|asan|tsan}"
jobs="${JOBS:-2}"
targets=()
selection=()
runner=()
case "$preset" in
  release) ;;
  asan)
    targets=(--target fast_tests)
    selection=(-L '^fast$')
    ;;
  tsan)
    targets=(--target thread_tests)
    selection=(-L '^thread$')
    # The runtime refuses some layouts of a randomised address space.
    if setarch "$(uname -m)" -R true 2>/dev/null; then
      runner=(setarch "$(uname -m)" -R)
    fi
    ;;
  *)
    echo "test.sh: unknown preset '$preset' (release, asan or tsan)" >&2
    exit 2
    ;;
esac

cmake --preset "$preset"
cmake --build --preset "$preset" --parallel "$jobs" "${targets[@]}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
"${runner[@]}" ctest --test-dir "build/$preset" --output-on-failure --no-tests=error "${selection[@]}"
