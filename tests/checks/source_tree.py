"""What the checks share: the files of a tree, findings, and the command line."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, NamedTuple

HEADER_SUFFIXES = (".h", ".cuh")
COMPILED_SUFFIXES = (".cc", ".cpp", ".cu")
CPP_SUFFIXES = HEADER_SUFFIXES + COMPILED_SUFFIXES


class Finding(NamedTuple):
    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def list_files(root: Path) -> list[str]:
    """Paths relative to `root`: what git tracks or would add. Outside a git checkout (a release
    archive) every file but hidden and build folders'."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others",
               "--exclude-standard", "--deduplicate"]
    if (root / ".git").exists():
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
        # A file deleted but not yet committed is still listed.
        return sorted(path for path in listed.split("\0") if path and (root / path).is_file())
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders
                         if not name.startswith((".", "build")) and name != "__pycache__"]
        found += [str((Path(folder) / name).relative_to(root)) for name in names]
    return sorted(found)


def read_lines(root: Path, path: str) -> list[str]:
    """The lines of a text file; of a binary file (one with a zero byte) none."""
    contents = (root / path).read_bytes()
    if b"\0" in contents:
        return []
    return contents.decode("utf-8", errors="replace").split("\n")


def run_check(check: Callable[..., list[Finding]], description: str,
              extra_arguments: tuple[str, ...] = ()) -> None:
    """The main function of a check: SCRIPT ROOT [EXTRA...]. Exits 1 if there are findings."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("root", type=Path, help="top folder of the source tree")
    for name in extra_arguments:
        parser.add_argument(name, type=Path)
    arguments = vars(parser.parse_args())
    findings = check(*(arguments[name].resolve() for name in ("root", *extra_arguments)))
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)
