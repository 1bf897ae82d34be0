"""Includes follow the layers of docs/ARCHITECTURE.md, and there are no cycles."""

import re
from pathlib import Path, PurePosixPath

from source_tree import CPP_SUFFIXES, Finding, list_files, read_lines, run_check

# Top folder -> the other top folders that it may include.
ALLOWED = {
    "common": set(),
    "proto": set(),
    "kernels": {"common"},
    "storage": {"common"},
    "transport": {"common"},
    "client": {"proto", "transport", "kernels", "common"},
    "daemon": {"proto", "storage", "transport", "kernels", "common"},
    "tools": {"client", "storage", "kernels", "proto", "common"},
}
# Folders of another layer that a top folder may include all the same: larder-bench measures parts of
# the daemon that no client reaches.
ALSO_ALLOWED = {
    "tools": {"daemon/index", "daemon/rpc"},
}
ANYTHING = {"tests"}

INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]')
PROTO_IMPORT = re.compile(r'^\s*import\s+(?:public\s+|weak\s+)?"([^"]+)"')
GENERATED = re.compile(r"(?:\.grpc)?\.pb\.h$")


class Edge:
    """One include: `source` names `target` (both paths of the tree) on `line`."""

    def __init__(self, source: str, line: int, target: str):
        self.source, self.line, self.target = source, line, target


def top_folder(path: str) -> str:
    return PurePosixPath(path).parts[0]


def folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def resolve(included: str, files: set[str]) -> str | None:
    """The tree's file that an include names, or None for a system's or library's header."""
    if included in files:
        return included
    if GENERATED.search(included):
        proto = GENERATED.sub(".proto", included)
        for path in files:
            if path == proto or path.endswith("/" + proto):
                return path
    if top_folder(included) in ALLOWED.keys() | ANYTHING:
        return included  # generated, or missing (then the compiler says so)
    return None


def find_edges(root: Path, files: list[str]) -> tuple[list[Edge], list[Finding]]:
    known = set(files)
    edges, findings = [], []
    for path in files:
        if path.endswith(CPP_SUFFIXES):
            pattern = INCLUDE
        elif path.endswith(".proto"):
            pattern = PROTO_IMPORT
        else:
            continue
        for number, line in enumerate(read_lines(root, path), start=1):
            match = pattern.match(line)
            if not match:
                continue
            target = resolve(match.group(1), known)
            if target:
                edges.append(Edge(path, number, target))
            elif f"{folder(path)}/{match.group(1)}" in known:
                findings.append(Finding(path, number, f'include "{match.group(1)}" by its path '
                                        "from the root of the tree"))
    return edges, findings


def check_edge(edge: Edge) -> str | None:
    """What is wrong with the edge, or None."""
    source, target = top_folder(edge.source), top_folder(edge.target)
    if source in ANYTHING or source == target or source not in ALLOWED:
        return None
    if target in ALLOWED[source] or folder(edge.target) in ALSO_ALLOWED.get(source, set()):
        return None
    allowed = ", ".join(sorted(ALLOWED[source])) or "nothing of ours"
    return f"{source} must not include {edge.target} ({source} may include {allowed})"


def find_cycle(edges: list[Edge], node_of) -> list[Edge]:
    """One cycle of the graph whose nodes are node_of(path), as the edges along it; or []."""
    graph: dict[str, dict[str, Edge]] = {}
    for edge in edges:
        source, target = node_of(edge.source), node_of(edge.target)
        if source != target:
            graph.setdefault(source, {}).setdefault(target, edge)
    finished: set[str] = set()
    for start in sorted(graph):
        if start in finished:
            continue
        trail = [start]
        pending = [iter(graph[start])]
        while pending:
            following = next(pending[-1], None)
            if following is None:
                pending.pop()
                finished.add(trail.pop())
            elif following in trail:
                loop = trail[trail.index(following):] + [following]
                return [graph[a][b] for a, b in zip(loop, loop[1:])]
            elif following not in finished:
                trail.append(following)
                pending.append(iter(graph.get(following, {})))
    return []


def check(root: Path) -> list[Finding]:
    files = list_files(root)
    edges, findings = find_edges(root, files)
    for path in files:
        if path.endswith(CPP_SUFFIXES) and top_folder(path) not in ALLOWED.keys() | ANYTHING:
            findings.append(Finding(path, 1, "code outside the folders of the layer diagram"))
    for edge in edges:
        what = check_edge(edge)
        if what:
            findings.append(Finding(edge.source, edge.line, what))
    # Tests share their helpers freely: their folders mirror the tree, they are no layers.
    layer_edges = [edge for edge in edges if top_folder(edge.source) not in ANYTHING]
    for kind, considered, node_of in (("files", edges, lambda path: path),
                                      ("folders", layer_edges, folder)):
        cycle = find_cycle(considered, node_of)
        findings += [Finding(edge.source, edge.line,
                             f"includes {edge.target}, part of a cycle of {kind}")
                     for edge in cycle]
        if cycle:
            break  # a cycle of files in two folders is one of folders too
    return findings


if __name__ == "__main__":
    run_check(check, __doc__)
