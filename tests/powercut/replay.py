#!/usr/bin/env python3
"""replay.py LOG OUT SEED: applies QEMU's log of a disk's writes to OUT, a copy of the disk as it was
before, so that it becomes what a power cut may leave: everything up to the last flush that ended;
of each later write nothing, everything, or some of its sectors of 512 bytes; but of the disk's first
4096 bytes nothing or everything, because ext4 takes that for granted of its superblock.

Exits 4 when the log itself is cut short before its last flush, which then cannot be replayed: the
process that writes it was killed, too.

The log is that of dm-log-writes: a superblock, then entries; each has a header that fills a sector,
and the written bytes."""

import os
import random
import struct
import sys
from typing import BinaryIO, Iterator, NamedTuple

SUPERBLOCK = struct.Struct("<QQQI")  # magic, version, entries, bytes of a sector
ENTRY = struct.Struct("<QQQQ")  # first sector, sectors, flags, bytes of data that is no write
MAGIC = 0x6A736677736872
VERSION = 1
SECTOR_BYTES = 512
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
KNOWN_FLAGS = FLUSH | FUA | DISCARD | MARK
FIRST_BLOCK_BYTES = 4096
CUT_SHORT = 4


class Entry(NamedTuple):
    offset: int  # on the disk
    size: int
    flags: int
    place: int  # of the bytes in the log


def read_superblock(log: BinaryIO) -> int:
    """The number of entries that the log has at least: QEMU writes it with every flush."""
    magic, version, entries, sector_bytes = SUPERBLOCK.unpack(log.read(SUPERBLOCK.size))
    if (magic, version, sector_bytes) != (MAGIC, VERSION, SECTOR_BYTES):
        sys.exit(f"replay.py: not a log: magic {magic:#x}, version {version}, "
                 f"sectors of {sector_bytes}")
    return entries


def read_entries(log: BinaryIO) -> Iterator[Entry]:
    log_bytes = os.fstat(log.fileno()).st_size
    place = SECTOR_BYTES
    while place + SECTOR_BYTES <= log_bytes:
        log.seek(place)
        sector, sectors, flags, _ = ENTRY.unpack(log.read(ENTRY.size))
        place += SECTOR_BYTES
        if (sector, sectors, flags) == (0, 0, 0):
            return
        if flags & ~KNOWN_FLAGS:
            sys.exit(f"replay.py: entry at byte {place} of the log has flags {flags:#x}")
        size = 0 if flags & DISCARD else sectors * SECTOR_BYTES
        if place + size > log_bytes:
            return
        yield Entry(sector * SECTOR_BYTES, size, flags, place)
        place += size


def surviving_sectors(entry: Entry, flushed: bool, chance: random.Random) -> list[bool]:
    count = entry.size // SECTOR_BYTES
    if flushed or entry.flags & FUA:
        return [True] * count
    fate = chance.choice(["whole", "whole", "none", "none", "torn"])
    if fate == "torn" and entry.offset >= FIRST_BLOCK_BYTES:
        return [chance.random() < 0.5 for _ in range(count)]
    return [fate == "whole"] * count


def apply(log: BinaryIO, disk: BinaryIO, entry: Entry, survives: list[bool]) -> None:
    log.seek(entry.place)
    contents = log.read(entry.size)
    for i, there in enumerate(survives):
        if there:
            disk.seek(entry.offset + i * SECTOR_BYTES)
            disk.write(contents[i * SECTOR_BYTES:(i + 1) * SECTOR_BYTES])


def replay(log: BinaryIO, disk: BinaryIO, chance: random.Random) -> str:
    """Returns what was done, in words."""
    entries_min = read_superblock(log)
    entries = list(read_entries(log))
    if len(entries) < entries_min:
        print(f"replay.py: the log has {len(entries)} entries, but {entries_min} were in it",
              file=sys.stderr)
        sys.exit(CUT_SHORT)
    flushes = [i for i, entry in enumerate(entries) if entry.flags & FLUSH]
    last_flush = flushes[-1] if flushes else -1
    whole = torn = lost = 0
    for i, entry in enumerate(entries):
        if not entry.size:
            continue
        survives = surviving_sectors(entry, i < last_flush, chance)
        apply(log, disk, entry, survives)
        if i > last_flush:
            whole += all(survives)
            lost += not any(survives)
            torn += any(survives) and not all(survives)
    return (f"{len(entries)} entries, {len(flushes)} flushes, "
            f"{sum(1 for entry in entries if entry.flags & FUA)} forced writes; after the last flush "
            f"{whole} whole, {torn} torn, {lost} lost")


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as log, open(sys.argv[2], "r+b") as disk:
        print(replay(log, disk, random.Random(int(sys.argv[3]))))


if __name__ == "__main__":
    main()
