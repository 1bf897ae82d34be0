"""Each check finds the fault that it is there for, and passes a tree without it."""

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

import format_pages
import hygiene
import layering
import links
import sources_in_targets
from source_tree import list_files


class TreeTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = Path(self.folder.name).resolve()

    def write(self, path: str, text: str = "") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def assert_clean(self, findings) -> None:
        self.assertEqual([str(finding) for finding in findings], [])

    def assert_finds(self, findings, *expected: tuple[str, int, str]) -> None:
        """Exactly these: path, line, and a part of the message."""
        found = [(finding.path, finding.line) for finding in findings]
        self.assertEqual(found, [(path, line) for path, line, _ in expected])
        for finding, (_, _, part) in zip(findings, expected):
            self.assertIn(part, finding.what)


class ListFilesTest(TreeTest):
    def test_ignored_and_deleted_files_are_left_out_of_a_checkout(self):
        self.write(".gitignore", "*.o\n")
        for path in ("kept.cc", "ignored.o", "gone.cc"):
            self.write(path)
        for command in (["init", "-q"], ["add", "gone.cc"]):
            subprocess.run(["git", "-C", str(self.root), *command], check=True)
        (self.root / "gone.cc").unlink()
        self.assertEqual(list_files(self.root), [".gitignore", "kept.cc"])

    def test_build_folders_are_left_out_of_an_archive(self):
        for path in ("common/clock.cc", "build/release/generated.cc", ".cache/index.cc"):
            self.write(path)
        self.assertEqual(list_files(self.root), ["common/clock.cc"])


class LayeringTest(TreeTest):
    def test_includes_down_the_layers_pass(self):
        self.write("common/clock.h")
        self.write("proto/store.proto", 'import "google/protobuf/empty.proto";\n')
        self.write("storage/catalog/catalog.h", '#include "common/clock.h"\n')
        self.write("daemon/main.cc", '#include <vector>\n\n#include "absl/status/status.h"\n'
                   '#include "proto/store.grpc.pb.h"\n#include "storage/catalog/catalog.h"\n')
        self.write("tests/unit/daemon/main_test.cc", '#include "daemon/main.h"\n')
        self.assert_clean(layering.check(self.root))

    def test_includes_up_the_layers_are_found(self):
        self.write("common/clock.cc", '#include "common/clock.h"\n#include "storage/catalog.h"\n')
        self.write("daemon/main.cc", '#include "client/client.h"\n')
        self.write("kernels/codec.cu", '  #  include <storage/arena.h>\n')
        self.write("tools/ctl.cc", '#include "daemon/core.h"\n')
        self.write("transport/ring.h", '#include "tests/fake.h"\n')
        self.assert_finds(layering.check(self.root),
                          ("common/clock.cc", 2, "common must not include storage/catalog.h"),
                          ("daemon/main.cc", 1, "daemon must not include client/client.h"),
                          ("kernels/codec.cu", 1, "kernels must not include storage/arena.h"),
                          ("tools/ctl.cc", 1, "tools must not include daemon/core.h"),
                          ("transport/ring.h", 1, "transport must not include tests/fake.h"))

    def test_a_generated_header_counts_as_its_proto_file(self):
        self.write("proto/larder/v1/store.proto")
        self.write("storage/arena.cc", '#include "larder/v1/store.pb.h"\n')
        self.assert_finds(layering.check(self.root),
                          ("storage/arena.cc", 1, "proto/larder/v1/store.proto"))

    def test_an_include_relative_to_its_own_folder_is_found(self):
        self.write("common/clock.h")
        self.write("common/clock.cc", '#include "clock.h"\n')
        self.assert_finds(layering.check(self.root),
                          ("common/clock.cc", 1, "from the root of the tree"))

    def test_code_outside_the_layers_is_found(self):
        self.write("extras/new.cc")
        self.assert_finds(layering.check(self.root), ("extras/new.cc", 1, "layer diagram"))

    def test_a_cycle_of_files_is_found(self):
        self.write("common/a.h", '#include "common/b.h"\n')
        self.write("common/b.h", '\n#include "common/a.h"\n')
        self.assert_finds(layering.check(self.root),
                          ("common/a.h", 1, "cycle of files"), ("common/b.h", 2, "cycle of files"))

    def test_a_cycle_of_folders_is_found(self):
        self.write("storage/arena/arena.h", '#include "storage/catalog/entry.h"\n')
        self.write("storage/catalog/entry.h")
        self.write("storage/catalog/catalog.h", '#include "storage/policy/order.h"\n')
        self.write("storage/policy/order.h", '#include "storage/arena/arena.h"\n')
        self.assert_finds(layering.check(self.root),
                          ("storage/arena/arena.h", 1, "cycle of folders"),
                          ("storage/catalog/catalog.h", 1, "cycle of folders"),
                          ("storage/policy/order.h", 1, "cycle of folders"))

    def test_only_files_of_tests_may_not_form_a_cycle(self):
        self.write("tests/golden/list.h", '#include "tests/unit/sample.h"\n')
        self.write("tests/unit/sample.h")
        self.write("tests/unit/a_test.cc", '#include "tests/golden/list.h"\n')
        self.assert_clean(layering.check(self.root))
        self.write("tests/unit/sample.h", '#include "tests/golden/list.h"\n')
        self.assert_finds(layering.check(self.root),
                          ("tests/golden/list.h", 1, "cycle of files"),
                          ("tests/unit/sample.h", 1, "cycle of files"))


class FormatPagesTest(TreeTest):
    HEADER = "kernels/format/container_format.h"

    def test_a_linked_page_or_a_section_passes(self):
        self.write(self.HEADER)
        self.write("transport/frame_format.h")
        self.write("docs/FORMATS.md", f"- [Container](formats/container.md): `{self.HEADER}`\n"
                   "## Frames (transport/frame_format.h)\n")
        self.write("docs/formats/container.md", f"Structs: `{self.HEADER}`\n")
        self.assert_clean(format_pages.check(self.root))

    def test_a_header_without_page_is_found(self):
        self.write(self.HEADER)
        self.assert_finds(format_pages.check(self.root), (self.HEADER, 1, "no page"))
        self.write("docs/FORMATS.md", f"The container is in {self.HEADER}.\n")
        self.assert_finds(format_pages.check(self.root), (self.HEADER, 1, "links no page"))

    def test_a_link_to_nothing_is_found(self):
        self.write(self.HEADER)
        self.write("docs/FORMATS.md", f"[Container](formats/container.md): {self.HEADER}\n")
        self.assert_finds(format_pages.check(self.root), (self.HEADER, 1, "does not exist"))

    def test_pages_and_headers_left_behind_are_found(self):
        self.write("docs/FORMATS.md", "# Formats\n## Container (kernels/old_format.h)\n")
        self.write("docs/formats/orphan.md")
        self.assert_finds(format_pages.check(self.root),
                          ("docs/FORMATS.md", 2, "kernels/old_format.h does not exist"),
                          ("docs/formats/orphan.md", 1, "does not link this page"))

    def test_a_page_about_something_else_is_found(self):
        self.write(self.HEADER)
        self.write("docs/FORMATS.md", f"[Container](formats/container.md): {self.HEADER}\n")
        self.write("docs/formats/container.md", "Nothing yet.\n")
        self.assert_finds(format_pages.check(self.root),
                          ("docs/formats/container.md", 1, "does not name its header"))


class SourcesInTargetsTest(TreeTest):
    def check(self, *compiled: str):
        build = self.root / "build"
        commands = [{"directory": str(build), "file": path, "command": "c++"} for path in compiled]
        self.write("build/compile_commands.json", json.dumps(commands))
        return sources_in_targets.check(self.root, build)

    def test_compiled_files_pass(self):
        self.write("common/clock.cc")
        self.write("common/clock.h")
        self.write("proto/store.proto")
        self.assert_clean(self.check(str(self.root / "common/clock.cc"), "proto/store.pb.cc"))

    def test_forgotten_files_are_found(self):
        self.write("common/CMakeLists.txt", "larder_library(larder_common SRCS clock.cc)\n")
        self.write("common/clock.cc")
        self.write("common/forgotten.cc")
        self.write("proto/admin.proto")
        self.assert_finds(self.check(str(self.root / "common/clock.cc")),
                          ("common/forgotten.cc", 1, "in no target"),
                          ("proto/admin.proto", 1, "in no target"))

    def test_what_is_built_elsewhere_is_named_in_a_cmake_file(self):
        self.write("kernels/CMakeLists.txt", "add_library(k codec/pack.cu) # codec/old.cu\n")
        self.write("kernels/codec/pack.cu")
        self.write("kernels/codec/old.cu")
        self.write("tests/fuzz/CMakeLists.txt", "larder_fuzzer(frame_fuzzer frame_fuzzer.cc)\n")
        self.write("tests/fuzz/frame_fuzzer.cc")
        self.write("tests/fuzz/fuzzer.cc")
        self.assert_finds(self.check(), ("kernels/codec/old.cu", 1, "in no target"),
                          ("tests/fuzz/fuzzer.cc", 1, "in no target"))


class LinksTest(TreeTest):
    def test_good_links_pass(self):
        self.write("README.md", "# Larder\n[a](docs/A.md#the-life-of-a-put) [b](docs) [c](#larder)"
                   " [d](https://example.org/x) `[e](none.md)`\n```\n[f](none.md)\n```\n")
        self.write("docs/A.md", "## The life of a `put`\n[up](../README.md)\n")
        self.assert_clean(links.check(self.root))

    def test_dead_links_are_found(self):
        self.write("README.md", "[a](docs/B.md)\n\n[b](#nowhere)\n[r]: docs/C.md\n[d](../out.md)\n")
        self.assert_finds(links.check(self.root), ("README.md", 1, "no such file"),
                          ("README.md", 3, "no heading"), ("README.md", 4, "no such file"),
                          ("README.md", 5, "no such file"))


class HygieneTest(TreeTest):
    def setUp(self):
        super().setUp()
        self.write("LICENSE", "Apache License\n")

    def function(self, lines: int, indent: str = "") -> str:
        """The text of a function of that many lines."""
        body = f"{indent}  if (a) {{\n{indent}    b();\n{indent}  }}\n"
        body += f"{indent}  c();\n" * (lines - 5)
        return f"{indent}void F(int a) {{\n{body}{indent}}}\n"

    def test_a_tidy_tree_passes(self):
        self.write("a.h", "// A comment.\n#pragma once\n\nclass A {\n public:\n"
                   + self.function(80, "  ") + "};\n")
        text = "namespace larder {\n" + self.function(80) * 2 + "}  // namespace larder\n"
        self.write("a.cc", text + "// " + "x" * 97 + "\n")
        self.assert_clean(hygiene.check(self.root))

    def test_long_functions_are_found(self):
        self.write("a.cc", "int b;\n" + self.function(5) + self.function(81))
        self.write("a.h", "#pragma once\nclass A {\n" + self.function(81, "  ") + "};\n")
        self.assert_finds(hygiene.check(self.root), ("a.cc", 7, "a function of 81 lines"),
                          ("a.h", 3, "a function of 81 lines"))

    def test_braces_in_raw_strings_do_not_end_a_function(self):
        half = "  c();\n" * 45
        self.write("a.cc", f'void F() {{\n{half}  d(R"(\n}}\n)");\n{half}}}\n')
        self.assert_finds(hygiene.check(self.root), ("a.cc", 1, "a function of 95 lines"))

    def test_tabs_wide_lines_and_bare_headers_are_found(self):
        self.write("a.h", "int a;\n\tint b;\n// " + "x" * 98 + "\n")
        self.assert_finds(hygiene.check(self.root), ("a.h", 2, "a tab"), ("a.h", 3, "101 columns"),
                          ("a.h", 1, "#pragma once"))

    def test_a_long_file_is_found(self):
        self.write("fits.py", "a = 1\n" * 600)
        self.write("long.py", "a = 1\n" * 601)
        self.assert_finds(hygiene.check(self.root), ("long.py", 601, "601 lines"))

    def test_a_path_of_one_machine_is_found(self):
        home = "/" + "home/"
        self.write("a.md", f"see work/home/page\nrun {home}someone/larder\n")
        self.assert_finds(hygiene.check(self.root), ("a.md", 2, "one person's machine"))

    def test_a_missing_licence_is_found(self):
        (self.root / "LICENSE").unlink()
        self.assert_finds(hygiene.check(self.root), ("LICENSE", 1, "no Apache License"))


if __name__ == "__main__":
    unittest.main()
