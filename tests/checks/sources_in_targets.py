"""Every source file is compiled: the build folder's compile_commands.json names it."""

import json
import os
from pathlib import Path, PurePosixPath

from source_tree import COMPILED_SUFFIXES, Finding, list_files, read_lines, run_check

# Not built by every configuration (a fuzzer needs clang, CUDA its compiler) or by a project of its
# own: for these it is enough that a CMakeLists.txt of the same or a higher folder names them.
BUILT_ELSEWHERE = ("tests/fuzz/", "tests/package/", "tests/golden/")
BUILT_ELSEWHERE_SUFFIX = ".cu"


def compiled_files(build: Path) -> set[str]:
    commands = json.loads((build / "compile_commands.json").read_text())
    return {os.path.realpath(os.path.join(command["directory"], command["file"]))
            for command in commands}


def named_in_cmake(root: Path, path: str) -> bool:
    """True if a CMakeLists.txt of the file's folder or one above names it, relative to itself."""
    for parent in PurePosixPath(path).parents:
        lists = root / parent / "CMakeLists.txt"
        if lists.is_file():
            relative = str(PurePosixPath(path).relative_to(parent))
            lines = read_lines(root, str(parent / "CMakeLists.txt"))
            words = (line.split("#")[0].replace("(", " ").replace(")", " ") for line in lines)
            if any(relative in line.split() for line in words):
                return True
    return False


def is_compiled(root: Path, path: str, compiled: set[str]) -> bool:
    if path.endswith(".proto"):
        # protoc writes NAME.pb.cc into the build folder.
        generated = "/" + PurePosixPath(path).stem + ".pb.cc"
        return any(name.endswith(generated) for name in compiled)
    if os.path.realpath(root / path) in compiled:
        return True
    elsewhere = path.startswith(BUILT_ELSEWHERE) or path.endswith(BUILT_ELSEWHERE_SUFFIX)
    return elsewhere and named_in_cmake(root, path)


def check(root: Path, build: Path) -> list[Finding]:
    compiled = compiled_files(build)
    return [Finding(path, 1, "in no target: name it in its folder's CMakeLists.txt")
            for path in list_files(root)
            if path.endswith((*COMPILED_SUFFIXES, ".proto"))
            and not is_compiled(root, path, compiled)]


if __name__ == "__main__":
    run_check(check, __doc__, ("build",))
