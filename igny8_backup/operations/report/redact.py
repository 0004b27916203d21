"""Remove the names of hosts, databases, trees and keys from a report, and all free texts.

Ids of backups stay: they consist of a time and a random number. Each name gets a number, such as ``host-1``
or ``tree-2``, which is the same everywhere in one report.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from igny8_backup.formats.parts.database import DatabasePart
from igny8_backup.operations.report.model import AuditReport, BackupFacts, CheckFacts, Finding, RunFacts
from igny8_backup.retention.policy import Part

REMOVED = "(removed)"
_GENERAL = ("all backups", "all records")
"""Values of ``Finding.of`` that contain no name."""


def redact(report: AuditReport) -> AuditReport:
    """Return the report without names and free texts."""
    names = _Names(report)
    return replace(
        report,
        redacted=True,
        storage=REMOVED,
        environment=REMOVED,
        keys=tuple(replace(key, name="") for key in report.keys),
        parts=tuple(replace(item, part=names.part(item.part)) for item in report.parts),
        findings=tuple(map(names.finding, report.findings)),
        backups=tuple(map(names.backup, report.backups)),
        checks=tuple(map(names.check, report.checks)),
        failed_runs=tuple(map(names.run, report.failed_runs)),
    )


class _Names:
    """The replacements of all names in a report."""

    def __init__(self, report: AuditReport) -> None:
        hosts = {item.part.host for item in report.parts} | {item.host for item in report.checks}
        hosts |= {item.host for item in report.backups} | {item.host for item in report.failed_runs}
        self._hosts = _numbered("host", hosts - {""}) | {"": ""}
        copies = [(copy.kind, copy.name) for item in report.backups for copy in item.copies]
        copies += [(item.part.kind, item.part.name) for item in report.parts]
        databases = {name for kind, name in copies if kind == DatabasePart.kind}
        trees = {name for kind, name in copies if kind != DatabasePart.kind}
        others = {name for item in report.failed_runs for name in (*item.requested, *item.errors)}
        others |= {name for item in report.checks for name in item.parts}
        self._databases, self._trees = _numbered("database", databases), _numbered("tree", trees)
        self._others = _numbered("part", others - databases - trees)
        self._signers = _numbered("key", {item.signer for item in report.backups} - {""})
        self._about = {name: name for name in _GENERAL}
        self._about |= {f"host {name}": f"host {number}" for name, number in self._hosts.items()}
        self._about |= {str(item.part): str(self.part(item.part)) for item in report.parts}

    def part(self, part: Part) -> Part:
        return Part(host=self._hosts[part.host], kind=part.kind, name=self.name(part.name, part.kind))

    def name(self, name: str, kind: str = "") -> str:
        """Return the replacement of the name of a database or tree. ``kind`` is empty if it is not known."""
        if kind == DatabasePart.kind or (not kind and name in self._databases):
            return self._databases[name]
        return self._trees.get(name) or self._others[name]

    def finding(self, item: Finding) -> Finding:
        return Finding(name=item.name, of=self._about.get(item.of, REMOVED), text=REMOVED)

    def backup(self, item: BackupFacts) -> BackupFacts:
        copies = tuple(replace(copy, name=self.name(copy.name, copy.kind)) for copy in item.copies)
        host, signer = self._hosts[item.host], self._signers.get(item.signer, "")
        problem = REMOVED if item.problem else ""
        return replace(item, host=host, copies=copies, signer=signer, problem=problem)

    def check(self, item: CheckFacts) -> CheckFacts:
        return replace(item, host=self._hosts[item.host], parts=tuple(map(self.name, item.parts)))

    def run(self, item: RunFacts) -> RunFacts:
        errors = {self.name(name): error for name, error in item.errors.items()}
        requested = tuple(map(self.name, item.requested))
        return replace(item, host=self._hosts[item.host], requested=requested, errors=errors)


def _numbered(word: str, names: Iterable[str]) -> dict[str, str]:
    return {name: f"{word}-{number}" for number, name in enumerate(sorted(names), 1)}
