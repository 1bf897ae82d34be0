#!/usr/bin/env python3
"""Measures the eviction policy on every trace of a folder and writes the tables into a page.

bench_policy.py LARDER_SIM TRACES_FOLDER PAGE: what stands in PAGE between the two marks is replaced.
"""

import json
import subprocess
import sys
from pathlib import Path

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
POLICIES = ["larder", "lru", "fifo", "lfu", "gdsf", "pgdsf", "s3fifo", "sieve", "arc", "wtinylfu", "min"]
CAPACITIES_PCT = [1, 2, 5, 10, 20, 40]
# Where a trace's blocks are not of 512 tokens.
BLOCK_TOKENS = {"lmcache_miniswe": 64}
DISK_TRACE, MEMORY_PCT, DISK_PCT = "mooncake_conversation", 2, 20


def name_of(trace: Path) -> str:
    return trace.name.split(".")[0]


def simulate(program: str, workload: list[str], *options: str) -> dict:
    command = [program, *workload, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return [line(header), line(["---"] + ["---:"] * (len(header) - 1)), *map(line, rows), ""]


def main_table(title: str, report: dict) -> list[str]:
    by_policy = {policy: {} for policy in POLICIES}
    for row in report["results"]:
        by_policy[row["policy"]][row["capacity_pct"]] = row
    hits = lambda policy, pct: 100 * by_policy[policy][pct]["block_hit"]
    rows = [[p] + [f"{hits(p, c):.1f}" for c in CAPACITIES_PCT] for p in POLICIES]
    closed = []
    for pct in CAPACITIES_PCT:
        gap = hits("min", pct) - hits("lru", pct)
        gain = hits("larder", pct) - hits("lru", pct)
        closed.append(f"{gain:+.2f}" + (f" ({100 * gain / gap:.0f} %)" if gap > 2 else ""))
    rows.append(["larder over lru, points (of the gap to min)"] + closed)
    for policy in ("larder", "lru", "min"):
        saved = [f"{100 * by_policy[policy][c]['prefill_flops_saved']:.1f}" for c in CAPACITIES_PCT]
        rows.append([f"work saved, {policy}"] + saved)
    counts = f"{report['block_accesses']:,} accesses, {report['unique_blocks']:,} unique blocks"
    return [f"**{title}** ({counts}), block hits in %", "",
            *table(["capacity"] + [f"{c} %" for c in CAPACITIES_PCT], rows)]


def disk_table(program: str, workload: list[str]) -> list[str]:
    rows = []
    for admission in ("all", "second-sight", "score"):
        report = simulate(program, workload, "--policy", "larder", "--capacity-pct", str(MEMORY_PCT),
                          "--disk-capacity-pct", str(DISK_PCT), "--disk-admission", admission)
        row = report["results"][0]
        writes = row["disk_bytes_written"] / report["block_bytes"] / report["block_accesses"]
        rows.append([admission, f"{100 * row['block_hit']:.1f}", f"{writes:.3f}"])
    return [f"**{DISK_TRACE}**, memory {MEMORY_PCT} %, disk {DISK_PCT} %", "",
            *table(["admission to disk", "block hits, %", "blocks written per access"], rows)]


def figures(program: str, folder: Path) -> list[str]:
    lines = []
    traces = sorted(t for t in folder.iterdir() if ".jsonl" in t.name)
    if not traces:
        sys.exit(f"there is no .jsonl trace in '{folder}'; name a folder with TRACES=")
    options = ["--policy", ",".join(POLICIES), "--capacity-pct", ",".join(map(str, CAPACITIES_PCT))]
    for trace in traces:
        tokens = str(BLOCK_TOKENS.get(name_of(trace), 512))
        workload = ["--trace", str(trace), "--block-tokens", tokens]
        lines += main_table(name_of(trace), simulate(program, workload, *options))
        if name_of(trace) == DISK_TRACE:
            lines += disk_table(program, workload)
    for kind in ("conversation", "agents", "rag"):
        workload = ["--generate", kind, "--users", "400", "--limit", "8000"]
        lines += main_table(f"generated: {kind}", simulate(program, workload, *options))
    return lines


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    program, folder, page = sys.argv[1], Path(sys.argv[2] or "."), Path(sys.argv[3])
    text = page.read_text()
    if BEGIN not in text or END not in text:
        sys.exit(f"{page} does not have the marks {BEGIN} and {END}")
    before, rest = text.split(BEGIN, 1)
    lines = figures(program, folder)
    page.write_text(before + BEGIN + "\n" + "\n".join(lines) + END + rest.split(END, 1)[1])
    print("\n".join(lines))


if __name__ == "__main__":
    main()
