"""Read the table of contents of a custom-format archive, and select entries of it.

The archive itself is read, because a line of ``pg_restore --list`` does not show where a name begins and
ends: a schema can be called ``DATA``, and a name can contain spaces and line breaks. ``ReadHead`` and
``ReadToc`` in PostgreSQL's ``pg_backup_archiver.c`` define the layout; its versions 1.14 (PostgreSQL 12) to
1.16 (PostgreSQL 17 and later) are known. ``pg_restore --use-list`` restores entries by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from igny8_backup.databases.postgresql.encodings import codec_of
from igny8_backup.databases.postgresql.restore.archive.dangerous_sql import find_dangers
from igny8_backup.databases.postgresql.restore.archive.indexes import is_plain_index
from igny8_backup.databases.postgresql.restore.archive.labels import label_providers
from igny8_backup.errors import IntegrityError
from igny8_backup.streams import Blocks

MOST_BYTES = 1 << 30
"""The largest table of contents that is read. (Each object of a database takes a few hundred bytes in it.)"""

_OLDEST = (1, 14)
_WITH_ALGORITHM = (1, 15)  # the header names the compression algorithm
_WITH_KIND_OF_RELATION = (1, 16)
_GRANTING, _LABEL = ("ACL", "DEFAULT ACL"), "SECURITY LABEL"
_CUSTOM = 1  # the format "custom" (archCustom)
_NONE, _DATA, _POST_DATA = 1, 3, 4  # sections (teSection)


@dataclass(frozen=True)
class Entry:
    """An entry of an archive, such as ``TABLE DATA`` of the table ``item`` in the schema ``public``.

    ``number`` is its dump id, ``needs`` are the numbers of the entries on which it depends. ``schema``,
    ``owner`` and ``tablespace`` are empty if the entry has none. ``data``: the entry is one with rows or
    other values. ``post_data``: the entry is restored after all rows. ``privileges`` is the SQL of an entry
    of the kinds ``ACL`` and ``DEFAULT ACL``. ``dangers`` names the kinds of SQL in the entry that reach
    beyond the database, such as ``COPY ... PROGRAM``. ``providers`` are those of its security labels.
    ``plain_index``: see :func:`is_plain_index`.
    """

    number: int
    kind: str
    schema: str = ""
    name: str = ""
    owner: str = ""
    needs: frozenset[int] = frozenset()
    data: bool = False
    post_data: bool = False
    privileges: str = ""
    tablespace: str = ""
    dangers: tuple[str, ...] = ()
    providers: frozenset[str] = frozenset()
    plain_index: bool = False

    @property
    def label(self) -> str:
        """The entry on one line for messages, in the order of ``pg_restore --list``."""
        text = f"{self.kind} {self.schema or '-'} {self.name} {self.owner}".rstrip()
        return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


@dataclass(frozen=True)
class Contents:
    """The table of contents of an archive.

    ``head`` has the blocks that were read, which a restore needs too (see :func:`joined`). ``created`` is the
    time at which ``pg_dump`` began to write. An archive records local time without its zone; ``created`` is
    right for dumps of this package, which runs ``pg_dump`` in UTC. ``end`` is the offset in ``head`` at which
    the data begin, and ``int_size`` the number of bytes of an integer in the archive, without its sign.
    """

    entries: tuple[Entry, ...]
    created: datetime | None
    head: tuple[bytes, ...]
    end: int = 0
    int_size: int = 4


def read_contents(blocks: Blocks) -> Contents:
    """Read the table of contents from the beginning of an archive.

    Raises :class:`IntegrityError` if ``blocks`` are no archive in the custom format.
    """
    reader = _Reader(blocks)
    if reader.take(5) != b"PGDMP":
        raise _damaged("it does not begin like one")
    version = reader.byte(), reader.byte()
    if version[0] != _OLDEST[0] or version < _OLDEST:
        raise _damaged(f"its format has the version {version[0]}.{version[1]}")
    reader.byte()  # the revision of the format
    reader.int_size, offset_size = reader.byte(), reader.byte()
    if reader.byte() != _CUSTOM:
        raise _damaged("it is in another format")
    if version >= _WITH_ALGORITHM:
        reader.byte()
    else:
        reader.number()
    second, minute, hour, day, month, year, _ = (reader.number() for _ in range(7))
    created = None
    with suppress(ValueError, OverflowError):
        created = datetime(year + 1900, month + 1, day, hour, minute, second, tzinfo=UTC)
    for _ in range(3):
        reader.string()  # the name of the database, and the versions of the server and of pg_dump
    count = reader.number()
    entries = tuple(_read_entry(reader, version, offset_size) for _ in range(count))
    return Contents(entries, created, tuple(reader.head), reader.end, reader.int_size)


def joined(contents: Contents, rest: Blocks) -> Blocks:
    """Yield a complete archive: the blocks that :func:`read_contents` consumed, and the ``rest``."""
    yield from contents.head
    yield from rest


def use_list(entries: Iterable[Entry]) -> bytes:
    """Return the contents of a list file with which ``pg_restore --use-list`` restores ``entries``."""
    return "".join(f"{entry.number};\n" for entry in entries).encode()


def is_event_trigger(entry: Entry) -> bool:
    """Return whether ``entry`` is an event trigger, or a comment or security label on an event trigger."""
    on_one = entry.kind in ("COMMENT", _LABEL) and entry.name.startswith("EVENT TRIGGER ")
    return entry.kind == "EVENT TRIGGER" or (on_one and not entry.schema)


class _Reader:
    """Reads bytes, numbers and strings from the beginning of an archive.

    ``head`` collects the blocks that were read, ``int_size`` is the size of the archive's integers in bytes,
    ``encoding`` is the encoding of its text, and ``section`` is the section of the entry that was read last.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.head: list[bytes] = []
        self.int_size = 0
        self.encoding, self.section = "utf-8", _NONE
        self._blocks = blocks
        self._data = b""
        self._position = self._read = 0

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes. Raises :class:`IntegrityError` if the archive ends before that."""
        if self._position + count > len(self._data):
            self._fill(count)
        self._position += count
        return self._data[self._position - count : self._position]

    @property
    def end(self) -> int:
        return self._read - len(self._data) + self._position

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """Read an integer: a sign byte (1 means negative), then ``int_size`` bytes, the lowest first."""
        negative, *digits = self.take(1 + self.int_size)
        number = int.from_bytes(digits, "little")
        return -number if negative else number

    def string(self) -> bytes | None:
        """Read the length of a string, then the string. A negative length stands for ``None``."""
        length = self.number()
        return None if length < 0 else self.take(length)

    def text(self) -> str:
        """Read a string in the encoding of the dump; ``None`` becomes an empty string."""
        return (self.string() or b"").decode(self.encoding, "surrogateescape")

    def _fill(self, count: int) -> None:
        pieces = [self._data[self._position :]]
        missing = count - len(pieces[0])
        while missing > 0:
            block = next(self._blocks, b"") if self._read + missing <= MOST_BYTES else b""
            if not block:
                raise _damaged("its table of contents is cut off or damaged")
            self.head.append(bytes(block))
            pieces.append(self.head[-1])
            self._read += len(block)
            missing -= len(block)
        self._data, self._position = b"".join(pieces), 0


def _read_entry(reader: _Reader, version: tuple[int, int], offset_size: int) -> Entry:
    number = reader.number()
    reader.number()  # whether the entry has data
    reader.string(), reader.string()  # the oids of the catalog and the object
    name, kind, section = reader.text(), reader.text(), reader.number()
    definition, drop, copy = (reader.string() or b"" for _ in range(3))
    schema, tablespace = reader.text(), reader.text()
    reader.string()  # the access method
    if version >= _WITH_KIND_OF_RELATION:
        reader.number()
    owner = reader.text()
    # "WITH OIDS" is the only field with few possible values, so a later layout is noticed here.
    if number <= 0 or not kind or reader.string() not in (b"true", b"false"):
        raise _damaged(
            f"its format {version[0]}.{version[1]} is unknown, or its table of contents is damaged"
        )
    needs = set()
    while (needed := reader.string()) is not None:
        if not needed.isdigit():
            raise _damaged("its table of contents is damaged")
        needs.add(int(needed))
    reader.take(1 + offset_size)  # the position of the data
    if kind == "ENCODING":
        reader.encoding = codec_of(definition)
    # An entry without a section, such as a comment, belongs to that of the entry before it.
    reader.section = reader.section if section == _NONE else section
    return Entry(
        number=number,
        kind=kind,
        schema=schema,
        name=name,
        owner=owner,
        needs=frozenset(needs),
        data=reader.section == _DATA,
        post_data=reader.section == _POST_DATA,
        privileges=definition.decode(reader.encoding, "surrogateescape") if kind in _GRANTING else "",
        tablespace=tablespace,
        dangers=find_dangers(definition, drop, copy),
        providers=label_providers(definition, reader.encoding) if kind == _LABEL else frozenset(),
        plain_index=is_plain_index(kind, definition),
    )


def _damaged(reason: str) -> IntegrityError:
    return IntegrityError(
        f"The dump is not an archive of pg_dump that can be restored: {reason}.",
        unchanged="The live database was not changed.",
        hint="Choose another backup: list_backups.",
    )
