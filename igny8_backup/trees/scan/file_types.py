"""Check whether the first bytes of a file fit its type, which its name says (``.pdf``, for example).

If malware encrypts a file and keeps its name, the file no longer begins as its type requires. Random contents
alone would be no sign of encryption, because most uploads are compressed and look random too.
"""

from __future__ import annotations

HEAD = 512
"""The number of bytes at the beginning of a file that :func:`fits` needs."""

_IMAGE = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\1\0", b"II+\0")
_ZIP = (b"PK\3\4", b"PK\5\6")
_STARTS: dict[str, tuple[bytes, ...]] = {
    **dict.fromkeys(
        ("jpg", "jpeg", "png", "gif", "webp", "bmp", "tif", "tiff", "ico", "avif", "heic"), _IMAGE
    ),
    **dict.fromkeys(("zip", "docx", "xlsx", "pptx", "odt", "ods", "jar", "epub", "apk"), _ZIP),
    "pdf": (b"%PDF",),
    "gz": (b"\x1f\x8b",),
    "tgz": (b"\x1f\x8b",),
    "bz2": (b"BZh",),
    "xz": (b"\xfd7zXZ\0",),
    "zst": (b"\x28\xb5\x2f\xfd",),
    "7z": (b"7z\xbc\xaf",),
    "sqlite3": (b"SQLite format 3\0",),
    "flac": (b"fLaC", b"ID3"),
    "ogg": (b"OggS",),
    "mp3": (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfa"),
    "wav": (b"RIFF",),
    "avi": (b"RIFF",),
    "mkv": (b"\x1a\x45\xdf\xa3",),
    "webm": (b"\x1a\x45\xdf\xa3",),
    "woff": (b"wOFF",),
    "woff2": (b"wOF2",),
}
_BOXES = frozenset({"mp4", "m4v", "m4a", "mov"})
_BOX_NAMES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"})
_TEXT = frozenset(
    {"html", "htm", "css", "js", "json", "xml", "svg", "txt", "csv", "md", "py", "php", "yaml", "yml"}
)
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_NOT_TEXT = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1b")


def fits(name: bytes, head: bytes) -> bool | None:
    """Return whether the bytes ``head`` fit a file of this ``name``; ``None`` if its type is unknown.

    ``head`` are the first ``HEAD`` bytes of the file, or the complete file if it is shorter. For an image,
    the beginning of every kind of image fits, because many images have the extension of another kind. For an
    empty file of a known type the result is True.
    """
    kind = name.rpartition(b".")[2].decode("ascii", "replace").lower()
    if kind in _TEXT:
        return head.startswith(_BYTE_ORDER_MARKS) or not _NOT_TEXT.intersection(head)
    if kind in _BOXES:
        return not head or head[4:8] in _BOX_NAMES
    starts = _STARTS.get(kind)
    if starts is None:
        return None
    if not head or head.startswith(starts):
        return True
    if starts is _IMAGE:
        return head[8:12] == b"WEBP" or head[4:8] == b"ftyp" or b"<svg" in head
    return kind == "pdf" and b"%PDF" in head
