"""The texts that the codec is calibrated and measured on, out of Debian packages (see texts.sh).

Two sets from different works: profiles are made from CALIBRATION, everything that is quoted is measured
on EVALUATION. A text is (kind, package, how to read it); `load` gives plain text from a starting mark on.
"""

import gzip
import re
import struct
import zlib
from pathlib import Path

WESNOTH = "usr/share/games/wesnoth/1.16/data/campaigns/{}/scenarios"
PYTHON = "usr/lib/python3.11/{}"
FORTUNES = "usr/share/games/fortunes/{}"


def plain(folder, path, start=None):
    """A text file, gzip or not, from the last place where `start` occurs."""
    content = (folder / path).read_bytes()
    text = (gzip.decompress(content) if path.endswith(".gz") else content).decode("utf-8")
    text = text.replace("\u00a0", " ")
    return text if start is None else text[text.rindex(start):]


def novel(folder, title, start):
    """A novel of the R package janeaustenr: an R lazy-load database of zlib streams, a book each.

    A book is a vector of lines: of the serialised form only its ASCII strings matter, each of which is
    a type word, a length and the bytes.
    """
    database = (folder / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    offset = 0
    while offset < len(database):
        stream = zlib.decompressobj()
        book = stream.decompress(database[offset + 4:])
        offset = len(database) - len(stream.unused_data)
        lines = []
        for match in re.finditer(rb"\x00\x04\x00\x09", book):
            (length,) = struct.unpack_from(">i", book, match.end())
            lines.append(book[match.end() + 4:match.end() + 4 + length].decode("ascii"))
        text = "\n".join(lines)
        if text.lower().startswith(title):
            return text[text.index(start):]
    raise ValueError(f"no novel called {title!r}")


def campaign(folder, name):
    """The spoken lines of a Wesnoth campaign, as a play."""
    lines = []
    for path in sorted((folder / WESNOTH.format(name)).glob("*.cfg")):
        scenario = path.read_text(encoding="utf-8")
        for message in re.findall(r"\[message\](.*?)\[/message\]", scenario, re.S):
            speaker = re.search(r"speaker=(.*)", message)
            speech = re.search(r'message=\s*_\s*"([^"]*)"', message)
            if speaker and speech:
                lines.append(f"{speaker[1].strip().upper()}: {speech[1].strip()}\n")
    return "\n".join(lines)


def fortunes(folder, name):
    return plain(folder, FORTUNES.format(name)).replace("\n%\n", "\n\n")


def chat(folder, path, first_chapter):
    """A page of questions and answers in the model's chat format."""
    text = plain(folder, path)
    parts = re.split(r"\n\d+\.\d+\. ((?:[^\n]+\n)+)\n", text[text.rindex(f"\nChapter {first_chapter}."):])
    turns = []
    for question, answer in zip(parts[1::2], parts[2::2]):
        answer = re.sub(r"\n +", "\n", answer)
        answer = re.sub(r" ?\(https?://[^)]*\)", "", answer).strip()
        turns.append(f"<|im_start|>user\n{' '.join(question.split())}<|im_end|>\n"
                     f"<|im_start|>assistant\n{answer}<|im_end|>\n")
    return "".join(turns)


EVALUATION = {
    "novel": ("prose", "r-cran-janeaustenr", lambda f: novel(f, "persuasion", "Chapter 7")),
    "essay": ("prose", "anarchism", lambda f: plain(f, "usr/share/doc/anarchism/markdown/secA2.md.gz")),
    "history": ("prose", "debian-history", lambda f: plain(
        f, "usr/share/doc/debian-history/docs/project-history.en.txt.gz", "Chapter 4.")),
    "mel": ("prose", "jargon-text", lambda f: plain(
        f, "usr/share/doc/jargon-text/jargon.txt.gz", "The Story of Mel\n")),
    "python": ("code", "libpython3.11-stdlib", lambda f: plain(f, PYTHON.format("mailbox.py"))),
    "cpp": ("code", "libabsl-dev", lambda f: plain(f, "usr/include/absl/strings/cord.h", "class Cord {")),
    "javascript": ("code", "libjs-underscore", lambda f: plain(
        f, "usr/share/javascript/underscore/underscore.js")),
    "perl": ("code", "perl-modules-5.36", lambda f: plain(f, "usr/share/perl/5.36.0/Text/Balanced.pm")),
    "play": ("dialogue", "wesnoth-1.16-did", lambda f: campaign(f, "Descent_Into_Darkness")),
    "chat": ("dialogue", "debian-faq", lambda f: chat(
        f, "usr/share/doc/debian/FAQ/debian-faq.en.txt.gz", 3)),
    "irc": ("dialogue", "fortunes", lambda f: fortunes(f, "knghtbrd")),
    "quotes": ("dialogue", "fortunes", lambda f: fortunes(f, "startrek")),
}

CALIBRATION = {
    "novel2": ("prose", "r-cran-janeaustenr", lambda f: novel(f, "emma", "CHAPTER V")),
    "lexicon": ("prose", "jargon-text", lambda f: plain(
        f, "usr/share/doc/jargon-text/jargon.txt.gz", ":baroque:")),
    "python2": ("code", "libpython3.11-stdlib", lambda f: plain(f, PYTHON.format("tarfile.py"))),
    "cpp2": ("code", "libabsl-dev", lambda f: plain(f, "usr/include/absl/container/inlined_vector.h")),
    "play2": ("dialogue", "wesnoth-1.16-httt", lambda f: campaign(f, "Heir_To_The_Throne")),
    "chat2": ("dialogue", "debian-faq", lambda f: chat(
        f, "usr/share/doc/debian/FAQ/debian-faq.en.txt.gz", 8)),
}


def load(name, folder):
    _, package, read = {**EVALUATION, **CALIBRATION}[name]
    return read(Path(folder) / package)
