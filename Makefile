# The commands of the project; each installs what is missing first (tools/dev/packages.txt).
#   make demo [TRACE=FILE]   a daemon serves a workload, every byte is verified
#   make demo-cluster        three daemons share a workload, one is killed, every byte is verified
#   make test                build everything, run every test
#   make test-asan           the fast tests under AddressSanitizer and UBSanitizer
#   make test-tsan           the tests with threads under ThreadSanitizer
#   make test-powercut [COUNT=N] [SEED=N]   cuts the power of a guest that writes to the disk tier
#   make test-sim [COUNT=N] [SEED=N]   simulates whole clusters with faults, a thousand seeds
#   make bench               the micro-benchmarks, as JSON
#   make bench-policy TRACES=DIR   the policy's figures on those traces, into docs/POLICY.md
#   make format              clang-format on every source
#   make lint [FILES=...]    clang-tidy on what changed, or FILES (--all: every source)
# JOBS bounds the compile jobs, 2 by default, to leave a small machine its memory.
JOBS ?= 2
export JOBS

# Clones of the repository share the compiler cache.
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1

.PHONY: build demo demo-cluster test test-asan test-tsan test-powercut test-sim bench bench-policy format check-format lint clean packages

build: packages
	cmake --preset release
	cmake --build --preset release --parallel $(JOBS)

demo: build
	TRACE="$(TRACE)" tools/dev/demo.sh

demo-cluster: build
	tools/dev/demo_cluster.sh

test: packages
	tools/dev/test.sh release

test-asan: packages
	tools/dev/test.sh asan

test-tsan: packages
	tools/dev/test.sh tsan

test-powercut: packages
	@tools/dev/install_packages.sh tests/powercut/packages.txt
	cmake --preset release
	cmake --build --preset release --parallel $(JOBS) --target powercut_writer
	COUNT="$(COUNT)" SEED="$(SEED)" tests/powercut/run.sh build/release/bin/powercut_writer \
	  build/powercut

test-sim: packages
	cmake --preset release
	cmake --build --preset release --parallel $(JOBS) --target larder-cluster-sim
	build/release/bin/larder-cluster-sim --count=$(or $(COUNT),1000) --seed=$(or $(SEED),1)

bench: build
	build/release/bin/larder-bench micro --json

bench-policy: build
	tools/dev/bench_policy.py build/release/bin/larder-sim "$(TRACES)" docs/POLICY.md

format: packages
	tools/dev/format.sh

check-format: packages
	tools/dev/format.sh --check

lint: packages
	tools/dev/lint.sh $(FILES)

clean:
	rm -rf build/release build/debug build/asan build/tsan

packages:
	@tools/dev/install_packages.sh
