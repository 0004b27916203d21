"""Parse and write the header of an age file.

The header has one stanza for each recipient. The stanza holds the key of the file, encrypted to that
recipient. The last line of the header is a MAC. Source: the age specification (age-encryption.org/v1),
section "Header".
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from igny8_backup.errors import IntegrityError

VERSION = b"age-encryption.org/v1"
FILE_KEY_BYTES, MAC_BYTES = 16, 32
_COLUMNS = 64
_ARGUMENTS_RE = re.compile(rb"[!-~]+(?: [!-~]+)*")
_FOOTER = b"---"


@dataclass(frozen=True)
class Stanza:
    """The key of a file, encrypted to one recipient: the arguments (the type first), and the body."""

    arguments: tuple[str, ...]
    body: bytes

    def lines(self) -> list[bytes]:
        """Return the lines of the stanza in a header."""
        text = encode(self.body).encode()
        body = [text[start : start + _COLUMNS] for start in range(0, len(text) + 1, _COLUMNS)]
        return [f"-> {' '.join(self.arguments)}".encode(), *body]


@dataclass(frozen=True)
class Header:
    """A parsed header: its stanzas, the bytes that the MAC is computed over, and the MAC."""

    stanzas: tuple[Stanza, ...]
    signed: bytes
    mac: bytes


def write_header(stanzas: tuple[Stanza, ...]) -> bytes:
    """Return the bytes that the MAC covers: the header with these stanzas, up to and including ``---``."""
    return b"\n".join([VERSION, *(line for stanza in stanzas for line in stanza.lines()), _FOOTER])


def parse_header(data: bytes) -> Header:
    """Parse the header of an age file, without what follows it. Raises ``IntegrityError``."""
    signed, _, footer = data.rpartition(b"\n--- ")
    version, *lines = signed.split(b"\n")
    try:
        if version != VERSION or not footer.endswith(b"\n"):
            raise ValueError("it is of another version, or incomplete")
        mac = decode(footer[:-1].decode())
        if len(mac) != MAC_BYTES:
            raise ValueError("its MAC has another length")
        return Header(tuple(_stanzas(lines)), signed + b"\n" + _FOOTER, mac)
    except ValueError as error:
        raise IntegrityError(f"The header of the encrypted data is damaged ({error}).") from None


def _stanzas(lines: list[bytes]) -> list[Stanza]:
    found: list[Stanza] = []
    rest = iter(lines)
    for line in rest:
        if not line.startswith(b"-> ") or not _ARGUMENTS_RE.fullmatch(line[3:]):
            raise ValueError("a stanza does not begin with ->")
        body = b""
        for piece in rest:
            body += piece
            if len(piece) > _COLUMNS:
                raise ValueError("a line is too long")
            if len(piece) < _COLUMNS:
                break
        else:
            raise ValueError("a stanza has no end")
        found.append(Stanza(tuple(line[3:].decode().split(" ")), decode(body.decode())))
    return found


def encode(data: bytes) -> str:
    """Return ``data`` in base64 without padding."""
    return base64.b64encode(data).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Parse base64 without padding, in its only correct form. Raises ``ValueError``."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("it is not base64") from None
    if encode(data) != text:
        raise ValueError("its base64 is not canonical")
    return data
