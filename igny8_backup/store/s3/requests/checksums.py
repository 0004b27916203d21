"""Compare the checksums in the answer to an upload with the bytes that were sent.

S3 answers with the MD5 digest of an object, or of a part, as its ETag, unless the object is encrypted with a
key of KMS or of the customer. Sources: Amazon S3 API Reference, "Object" (``ETag``) and "PutObject"
(``ChecksumCRC32``).
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

from igny8_backup.errors import IntegrityError
from igny8_backup.streams import BLOCK

_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass
class Checksums:
    """Compares checksums in the answers of one bucket, and learns whether its ETags are MD5 digests.

    Some servers answer with ETags that look like MD5 digests, but are something else. ``etags_are_md5`` is
    ``None`` until an upload has shown whether the ETags of this server are MD5 digests.
    """

    etags_are_md5: bool | None = None

    def fit(self, answer: dict[str, Any], body: BinaryIO) -> bool | None:
        """Return whether the checksums in the answer are those of ``body``.

        Returns ``None`` if the answer has no checksum that can be compared. Leaves ``body`` at its end.
        """
        etag = str(answer.get("ETag", "")).strip('"')
        encrypted = "SSECustomerAlgorithm" in answer or "kms" in answer.get("ServerSideEncryption", "")
        if encrypted or self.etags_are_md5 is False or not _MD5.fullmatch(etag):
            etag = ""
        crc = str(answer.get("ChecksumCRC32", ""))
        if answer.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
            crc = ""
        if not etag and not crc:
            return None
        found_md5, found_crc = _digests(body)
        if etag == found_md5:
            self.etags_are_md5 = True
        return etag in ("", found_md5) and crc in ("", found_crc)


def altered(key: str, place: str, *, unchanged: str = "") -> IntegrityError:
    """Return the error for an upload whose bytes were altered on their way to the storage.

    ``unchanged`` is the part of the message that says what has not been changed, or what was undone.
    """
    return IntegrityError(
        f"{place} received other bytes for {key} than were sent: the checksum differs, so they were"
        " altered on the way.",
        unchanged=unchanged,
        hint="Run the backup again; the new run does not use this object. If it fails again, look for a"
        " proxy or faulty memory between this machine and the storage.",
    )


def _digests(body: BinaryIO) -> tuple[str, str]:
    """Return the MD5 digest of a file (hexadecimal) and its CRC-32 as S3 writes it (base64, big-endian)."""
    digest, crc = hashlib.md5(usedforsecurity=False), 0
    body.seek(0)
    while block := body.read(BLOCK):
        digest.update(block)
        crc = zlib.crc32(block, crc)
    return digest.hexdigest(), base64.b64encode(crc.to_bytes(4, "big")).decode()
