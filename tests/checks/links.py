"""Every relative link of a Markdown page leads to a file of the tree, and to a heading in it."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath

from source_tree import Finding, list_files, read_lines, run_check

LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+<?([^\s>]+)>?")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:")
INLINE_CODE = re.compile(r"`[^`]*`")


def text_lines(root: Path, path: str) -> list[tuple[int, str]]:
    """The page's lines with their numbers, without fenced code."""
    kept = []
    fence = None
    for number, line in enumerate(read_lines(root, path), start=1):
        marker = line.lstrip()[:3]
        if fence is None and marker in ("```", "~~~"):
            fence = marker
        elif fence is not None:
            fence = None if marker == fence else fence
        else:
            kept.append((number, line))
    return kept


def anchors(root: Path, path: str) -> set[str]:
    """The names that a Markdown renderer gives the page's headings."""
    found: set[str] = set()
    for _, line in text_lines(root, path):
        match = HEADING.match(line)
        if match:
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match.group(1))
            name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            repeated = 0
            while name + (f"-{repeated}" if repeated else "") in found:
                repeated += 1
            found.add(name + (f"-{repeated}" if repeated else ""))
    return found


def check_link(root: Path, page: str, link: str, files: set[str]) -> str | None:
    """What is wrong with the link, or None."""
    if SCHEME.match(link):
        return None
    path, _, anchor = link.partition("#")
    target = normpath(str(PurePosixPath(page).parent / path)) if path else page
    is_folder = any(name.startswith(target + "/") for name in files)
    if target not in files and not is_folder:
        return f"link to {link}: no such file in the tree"
    if anchor and target.endswith(".md") and anchor not in anchors(root, target):
        return f"link to {link}: {target} has no heading of that name"
    return None


def check(root: Path) -> list[Finding]:
    files = set(list_files(root))
    findings = []
    for page in sorted(path for path in files if path.endswith(".md")):
        for number, line in text_lines(root, page):
            visible = INLINE_CODE.sub("", line)
            for link in LINK.findall(visible) + REFERENCE.findall(visible):
                what = check_link(root, page, link, files)
                if what:
                    findings.append(Finding(page, number, what))
    return findings


if __name__ == "__main__":
    run_check(check, __doc__)
