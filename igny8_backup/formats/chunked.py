"""Dumps and large files that are stored as chunks: what a manifest says about them, and their keys.

The large files of a tree of ``CHUNKED_TREES`` are in tars of their own. Such a tar is not one object in
storage: an index lists the ranges of packs of chunks that make it up. The folder for the packs of the tree
holds the ordinary packs (tars), the indexes of these tars and their packs of chunks. They differ in what
follows the names in their keys, and have different numbers, so that a name stands for one object only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from igny8_backup.formats import keys

FULL, DIFFERENTIAL, INCREMENTAL = "full", "differential", "incremental"
KINDS = (FULL, DIFFERENTIAL, INCREMENTAL)


LARGE_TARS, LARGE_CHUNKS = 400_000, 500_000
"""The tars of large files that a run stores, and their packs of chunks, are numbered from these numbers. No
run stores as many ordinary packs: together they would have 200 TB."""
_RUNS, _CHUNKS = ".runs.", ".chunks."


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkedArchive:
    """The size in bytes and the SHA-256 of an archive of ``pg_dump`` that is stored in chunks."""

    bytes: int
    archive_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkedDump:
    """A dump in chunks: its kind, and the size in bytes and the SHA-256 of the archive of ``pg_dump``.

    If the dump has data archives, these are of the main archive, and ``data`` are those of the others.
    ``full_id`` is the id of the backup with the full dump that this dump is based on, and ``full_started`` is
    the time at which that full dump began. A full dump names itself there. ``differential_id`` is the id of
    the backup with the differential dump that this dump is based on; empty if there is none. Those backups
    may have been removed since. The packs that this dump needs are kept even so. ``reason`` says why the dump
    is a full one although none was due; it is empty if one was due or the user demanded it.
    """

    kind: str
    bytes: int
    archive_sha256: str
    full_id: str
    full_started: datetime
    differential_id: str = ""
    reason: str = ""
    data: tuple[ChunkedArchive, ...] = ()

    @property
    def archives(self) -> tuple[ChunkedArchive, ...]:
        """The sizes and digests of all archives, those of the main archive first."""
        return (ChunkedArchive(bytes=self.bytes, archive_sha256=self.archive_sha256), *self.data)


def index_key(backup_id: str, alias: str, suffix: str, archive: str = "") -> str:
    """Return the key of the index of an archive in chunks. ``suffix`` names the codecs: ``.zst.age``.

    ``archive`` is one of the names of archives, such as ``main.``; empty if there is one only.
    """
    return f"{keys.BACKUPS}{backup_id}/db/{alias}.{archive}runs{suffix}"


def chunk_folder(host: str, alias: str) -> str:
    """Return the folder for the packs of a database. Its name has a dot; the names of trees have none."""
    return f"{keys.PACKS}{host}/db.{alias}/"


def chunk_pack_key(host: str, alias: str, pack: str, suffix: str) -> str:
    """Return the key of the pack of chunks ``pack``, a name like ``20261122T021500Z-7f3a9c-0001``."""
    return f"{chunk_folder(host, alias)}{pack}.chunks{suffix}"


def large_tar_name(backup_id: str, number: int) -> str:
    """Return the name of tar ``number`` of the large files of a tree, counted from 1 in each run."""
    return keys.pack_name(backup_id, LARGE_TARS + number)


def large_chunks_name(backup_id: str, number: int) -> str:
    """Return the name of pack ``number`` of chunks of large files, counted from 1 in each run and tree."""
    return keys.pack_name(backup_id, LARGE_CHUNKS + number)


def large_tar_key(host: str, tree: str, name: str, suffix: str) -> str:
    """Return the key of the index of a tar of large files. ``suffix`` names the codecs: ``.zst.age``."""
    return f"{keys.pack_folder(host, tree)}{name}.runs{suffix}"


def large_chunks_key(host: str, tree: str, name: str, suffix: str) -> str:
    """Return the key of a pack of chunks of large files. ``suffix`` names the codecs: ``.zst.age``."""
    return f"{keys.pack_folder(host, tree)}{name}.chunks{suffix}"


def is_large_tar(key: str) -> bool:
    """Return whether ``key``, the key of a pack of a tree, is that of the index of a tar of large files."""
    return _RUNS in key.rpartition("/")[2]


def is_large_chunks(key: str) -> bool:
    """Return whether ``key``, the key of a pack of a tree, is that of a pack of chunks of large files."""
    return _CHUNKS in key.rpartition("/")[2]
