"""Every *_format.h is named in docs/FORMATS.md, which has or links the page of that format."""

import re
from pathlib import Path

from source_tree import Finding, list_files, read_lines, run_check

INDEX = "docs/FORMATS.md"
PAGES_FOLDER = "docs/formats/"
HEADER_NAME = re.compile(r"[\w./-]*_format\.h\b")
LINK = re.compile(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)")


def linked_pages(line: str) -> list[str]:
    return ["docs/" + target for target in LINK.findall(line)]


def check(root: Path) -> list[Finding]:
    files = list_files(root)
    headers = [path for path in files if path.endswith("_format.h")]
    index = read_lines(root, INDEX) if INDEX in files else []
    findings = []
    for header in headers:
        naming = [line for line in index if header in line]
        pages = [page for line in naming for page in linked_pages(line)]
        if not naming:
            findings.append(Finding(header, 1, f"the format has no page: {INDEX} does not name it"))
        elif any(line.startswith("#") for line in naming):
            continue  # the section under that heading is the page
        elif not pages:
            findings.append(Finding(header, 1, f"the line of {INDEX} that names it links no page, "
                                    "and no heading names it"))
        for page in pages:
            if page not in files:
                findings.append(Finding(header, 1, f"its page {page} does not exist"))
            elif not any(header in line for line in read_lines(root, page)):
                findings.append(Finding(page, 1, f"does not name its header {header}"))
    for number, line in enumerate(index, start=1):
        for name in HEADER_NAME.findall(line):
            if name not in headers:
                findings.append(Finding(INDEX, number, f"{name} does not exist"))
    linked = {page for line in index for page in linked_pages(line)}
    findings += [Finding(path, 1, f"{INDEX} does not link this page") for path in files
                 if path.startswith(PAGES_FOLDER) and path.endswith(".md") and path not in linked]
    return findings


if __name__ == "__main__":
    run_check(check, __doc__)
