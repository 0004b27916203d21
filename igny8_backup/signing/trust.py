"""Decide which signatures are trusted.

A reader trusts the public keys in its own settings. Each key may sign certain kinds of documents, for certain
hosts and parts only. For example, a laptop that drills must not sign backups, and a web host must not sign
backups of the database.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from igny8_backup.signing import sshsig

MANIFEST, CHECK, PIN, ACCEPTANCE = "manifest", "check", "pin", "acceptance"
RELEASE, REMOVAL, COPY, RETIREMENT = "release", "removal", "copy", "retirement"
FLEET = "fleet"
KINDS = (MANIFEST, CHECK, PIN, ACCEPTANCE, RELEASE, REMOVAL, COPY, RETIREMENT, FLEET)
"""The kinds of documents. Each has a namespace of its own, so that the signature of a document of one
kind is refused for another kind."""
DEFAULT_KINDS = tuple(kind for kind in KINDS if kind != RETIREMENT)
"""The kinds that a key may sign if the settings list none. A retirement is not one of them: it ends the
alarms about a host, so whoever has stolen the key of this host must not sign it."""
LOCAL_KINDS = (CHECK, PIN, RELEASE, REMOVAL, COPY, RETIREMENT, FLEET)
"""Documents of these kinds are about what one storage contains. Others are copied with the backup."""

PART_KINDS = ("database", "files")
"""The kinds of parts of a backup: databases and trees of files."""


def part_token(kind: str, name: str) -> str:
    """Return the name of a database or tree together with its kind, such as ``database:default``."""
    return f"{kind}:{name}"


def namespace(kind: str, copy: str = "") -> str:
    """Return the SSHSIG namespace of a kind of document.

    ``copy`` is the name in ``COPIES`` of the storage that the document is stored in; empty for the storage
    that backups are made into. Documents of the kinds ``LOCAL_KINDS`` count only in the storage that they
    were made for, because an object that is good in one storage can be damaged in another.
    """
    return f"{kind}@{copy}.igny8-backup" if copy and kind in LOCAL_KINDS else f"{kind}@igny8-backup"


@dataclass(frozen=True, kw_only=True)
class TrustedKey:
    """A public key (32 bytes), and what it may sign. Empty ``hosts`` or ``parts`` mean any host or part.

    Each of ``parts`` is the result of :func:`part_token`, or a plain name, which stands for both the database
    and the tree of that name.
    """

    name: str
    public: bytes
    kinds: tuple[str, ...] = DEFAULT_KINDS
    hosts: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    revoked: bool = False

    def refusal(self, kind: str, host: str, parts: Iterable[str], *, known: bool = False) -> str:
        """Return why this key may not sign a document of this kind, host and parts; empty if it may.

        ``known``: this reader trusted the document before the key was revoked.
        """
        if self.revoked and not known:
            return f"the key {self.name!r} is revoked"
        if kind not in self.kinds:
            return f"the key {self.name!r} may not sign a {kind}"
        if self.hosts and host not in self.hosts:
            return f"the key {self.name!r} may not sign for the host {host}"
        if self.parts and (other := sorted(part for part in set(parts) if not self._covers(part))):
            return f"the key {self.name!r} may not sign for {', '.join(map(self._in_words, other))}"
        return ""

    def _covers(self, part: str) -> bool:
        """Return whether the key may sign for ``part``, which is a name or the result of ``part_token``."""
        name = part.rpartition(":")[2]
        if part in self.parts or name in self.parts:
            return True
        # Old documents name parts without their kind, so the key has to be for both.
        return part == name and all(part_token(kind, name) in self.parts for kind in PART_KINDS)

    def _in_words(self, part: str) -> str:
        kind, _, name = part.rpartition(":")
        namesakes = {known.rpartition(":")[2] for known in self.parts}
        return f"the {'tree' if kind == 'files' else kind} {name}" if kind and name in namesakes else name


@dataclass(frozen=True)
class Verdict:
    """The result of checking a signature: the name of its trusted key (``signer``), or why it is not trusted.

    ``problem`` says why the signature is not trusted; empty for a trusted signature. ``revoked``: the key is
    revoked. The document is then trusted only if this reader trusted it before. ``foreign``: the signature is
    right, but the environment, PREFIX or host of the backup is not one of this reader's. ``names_host``: the
    entry of the key in ``TRUSTED`` names the host of the document. ``limited``: that entry names hosts or
    parts, so that the key may not sign for others.
    """

    signer: str = ""
    problem: str = ""
    revoked: bool = False
    foreign: bool = False
    names_host: bool = False
    limited: bool = False

    @property
    def trusted(self) -> bool:
        return not self.problem


UNSIGNED = Verdict(problem="it is not signed, or was changed after it was signed")


@dataclass(frozen=True, kw_only=True)
class Place:
    """The origin that backups must have: the environment, PREFIX and hosts in the settings of this reader.

    ``host`` is the name of the reader itself. ``hosts`` is the setting ``HOSTS``; ``None`` allows any host.
    """

    environment: str
    prefix: str
    host: str
    hosts: tuple[str, ...] | None = None

    def misfit(self, *, environment: str, prefix: str | None, host: str) -> str:
        """Return why a backup is not one of this reader's, judging by where it was made; ``""`` if it is.

        ``environment``, ``prefix`` and ``host`` are what the backup has recorded. ``prefix`` is ``None`` in
        backups of releases that did not record it.
        """
        if environment != self.environment:
            return f"it was made in the environment {environment!r}, and this is {self.environment!r}"
        if prefix is not None and prefix != self.prefix:
            return f"it was made under the PREFIX {prefix!r}, and this is {self.prefix!r}"
        if self.hosts is not None and host != self.host and host not in self.hosts:
            return f"it was made on the host {host}, which HOSTS does not name"
        return ""


@dataclass(frozen=True)
class Trust:
    """The trusted keys of the settings. If there are none, documents need no signature.

    ``place`` is where backups must be from; ``None`` allows any place. ``copy`` is the name in ``COPIES`` of
    the storage that is read; empty for the storage that backups are made into.
    """

    keys: tuple[TrustedKey, ...] = ()
    place: Place | None = field(default=None, compare=False)
    copy: str = ""

    @property
    def required(self) -> bool:
        """Whether documents must be signed: the settings name a trusted key."""
        return bool(self.keys)

    @property
    def revoked(self) -> frozenset[bytes]:
        """The public keys (32 bytes each) that are revoked."""
        return frozenset(key.public for key in self.keys if key.revoked)

    def judge(
        self,
        signature: bytes | None,
        message: bytes,
        *,
        kind: str,
        host: str,
        parts: Iterable[str] = (),
        known: bool = False,
    ) -> Verdict:
        """Return whether a trusted key that may sign ``message`` made ``signature`` (``None`` if missing).

        ``kind`` is the kind of the document, such as ``MANIFEST``. ``host`` and ``parts`` (names or tokens of
        databases and trees) are those that the document names. ``known``: this reader trusted the same
        document before, so that a revoked key does not matter.
        """
        if signature is None:
            return UNSIGNED
        try:
            public = sshsig.verify(signature, message, namespace(kind, self.copy))
        except sshsig.BadSignatureError as error:
            return Verdict(problem=f"its signature is wrong: {error}")
        key = self._find(public)
        if key is None:
            return Verdict(problem="it is signed with a key that the settings do not trust")
        problem = key.refusal(kind, host, parts, known=known)
        return Verdict(
            signer=key.name,
            problem=problem,
            revoked=key.revoked,
            names_host=host in key.hosts,
            limited=bool(key.hosts or key.parts),
        )

    def judge_place(self, verdict: Verdict, *, environment: str, prefix: str | None, host: str) -> Verdict:
        """Return the ``verdict`` on a backup, or an adverse one if the backup is from another place.

        A backup with a true signature may have been copied here from the storage of another project.
        ``HOSTS`` need not name the host of the backup if the entry of the key in ``TRUSTED`` names it.
        """
        if self.place is None or not verdict.trusted:
            return verdict
        place = replace(self.place, hosts=None) if verdict.names_host else self.place
        problem = place.misfit(environment=environment, prefix=prefix, host=host)
        return replace(verdict, problem=problem, foreign=True) if problem else verdict

    def refusal(self, public: bytes, kind: str, host: str, parts: Iterable[str] = ()) -> str:
        """Return why a signature with the key ``public`` (32 bytes) is not trusted; empty if it is.

        The other arguments are those of :meth:`judge`.
        """
        key = self._find(public)
        return key.refusal(kind, host, parts) if key else "TRUSTED does not name its key"

    def signs_kind(self, name: str, kind: str) -> bool:
        """Return whether the trusted key ``name`` may sign documents of this kind."""
        return any(key.name == name and kind in key.kinds for key in self.keys)

    def name_of(self, line: str) -> str:
        """Return the name of the trusted key in a line ``ssh-ed25519 AAAA...``; empty if there is none."""
        try:
            key = self._find(sshsig.public_from_line(line))
        except ValueError:
            return ""
        return key.name if key else ""

    def _find(self, public: bytes) -> TrustedKey | None:
        return next((one for one in self.keys if one.public == public), None)
