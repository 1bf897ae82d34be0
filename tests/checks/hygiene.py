"""Size and form of the sources: short files and functions, 100 columns, no tabs, nothing that names
one person's machine."""

import re
from pathlib import Path

from source_tree import CPP_SUFFIXES, HEADER_SUFFIXES, Finding, list_files, read_lines, run_check

COLUMNS_MAX = 100
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 80

CODE_SUFFIXES = CPP_SUFFIXES + (".proto", ".py", ".sh", ".cmake", "CMakeLists.txt")
# The folders are spelled apart so that this file passes its own check.
MACHINE_PATH = re.compile(r"(?<![\w.~$}])/(?:" + "|".join(["work", "home", "root", "Users"]) + r")/")
RAW_STRING = re.compile(r'R"([^()\s\\]{0,16})\(')


def blank_raw_strings(lines: list[str]) -> list[str]:
    """The lines with the insides of raw strings emptied: they may hold braces at any column."""
    result = []
    closing = None
    for line in lines:
        if closing is not None:
            _, found, rest = line.partition(closing)
            # Indented: what follows the string continues a statement, it starts nothing.
            result.append("    " + rest if found else "")
            closing = None if found else closing
            continue
        match = RAW_STRING.search(line)
        if match and (")" + match.group(1) + '"') not in line[match.end():]:
            closing = ")" + match.group(1) + '"'
            line = line[:match.start()]
        result.append(line)
    return result


def find_functions(lines: list[str]) -> list[tuple[int, int]]:
    """(first, last) line numbers of each function, as clang-format lays them out: at file level the
    closing brace stands alone in column 0 (a namespace's has a comment, a class's a semicolon), in
    a class at file level alone in column 2."""
    functions = []
    lines = blank_raw_strings(lines)
    starts = {0: 0, 2: 0}
    in_class = False
    for number, line in enumerate(lines, start=1):
        code = line.strip()
        indent = len(line) - len(line.lstrip())
        if not code or code.startswith(("#", "//")):
            continue
        if line == "}" or (line == "  }" and in_class):
            functions.append((starts[indent], number))
        elif indent == 0:
            starts[0] = number
            in_class = bool(re.match(r"(class|struct|template)\b", code)) and line != "};"
        elif indent == 2:
            starts[2] = number
    return functions


def check_cpp(path: str, lines: list[str]) -> list[Finding]:
    findings = []
    for number, line in enumerate(lines, start=1):
        if "\t" in line:
            findings.append(Finding(path, number, "a tab: indent with spaces"))
        if len(line) > COLUMNS_MAX:
            findings.append(Finding(path, number, f"{len(line)} columns, over {COLUMNS_MAX}"))
    if path.endswith(HEADER_SUFFIXES) and "#pragma once" not in lines:
        findings.append(Finding(path, 1, "a header without #pragma once"))
    for first, last in find_functions(lines):
        length = last - first + 1
        if length > FUNCTION_LINES_MAX:
            findings.append(Finding(path, first,
                                    f"a function of {length} lines, over {FUNCTION_LINES_MAX}"))
    return findings


def check(root: Path) -> list[Finding]:
    findings = []
    licence = read_lines(root, "LICENSE") if (root / "LICENSE").is_file() else []
    if not any("Apache License" in line for line in licence):
        findings.append(Finding("LICENSE", 1, "no Apache License"))
    for path in list_files(root):
        lines = read_lines(root, path)
        if path.endswith(CPP_SUFFIXES):
            findings += check_cpp(path, lines)
        line_count = len(lines) - (lines[-1:] == [""])
        if path.endswith(CODE_SUFFIXES) and line_count > FILE_LINES_MAX:
            findings.append(Finding(path, line_count,
                                    f"{line_count} lines, over {FILE_LINES_MAX}: split the file"))
        findings += [Finding(path, number, "a path of one person's machine")
                     for number, line in enumerate(lines, start=1) if MACHINE_PATH.search(line)]
    return findings


if __name__ == "__main__":
    run_check(check, __doc__)
