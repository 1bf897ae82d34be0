"""Compiles a CUDA source as the build does and fails when a kernel uses local memory: spilled
registers, or arrays that the compiler could not keep in registers.

usage: check_spills.py NVCC SOURCE ARCHITECTURE...
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

FLAGS = ["-std=c++20", "-O3", "--fmad=false", "--expt-relaxed-constexpr", "-Werror", "all-warnings",
         "-Xptxas", "-v"]
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
LOCAL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")


def compile_verbosely(nvcc: str, source: Path, architecture: str) -> str:
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *FLAGS, f"-I{root}", f"-arch=sm_{architecture}", "-cubin", str(source),
                   "-o", f"{folder}/kernels.cubin"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stderr}")
    return result.stderr


def main() -> None:
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    nvcc, source, architectures = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    kernels = 0
    failed = False
    for architecture in architectures:
        entry = ""
        for line in compile_verbosely(nvcc, source, architecture).splitlines():
            if match := ENTRY.search(line):
                entry = match.group(1)
            elif (match := LOCAL.search(line)) and entry:
                kernels += 1
                local = any(int(count) for count in match.groups())
                failed = failed or local
                print(f"sm_{architecture} {entry}: {match.group(0)}{'  FAILED' if local else ''}")
            elif (match := REGISTERS.search(line)) and entry:
                print(f"    {match.group(1)} registers")
                entry = ""
    if kernels == 0:
        sys.exit(f"{source}: no kernel seen")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
