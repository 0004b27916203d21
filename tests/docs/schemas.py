"""JSON schemas of the output of every command with ``--json``, made from the classes that are printed.

``python -m tests.docs.schemas`` writes them to docs/reference/schemas.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import types
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import django

from tests.docs.pages import DOCS

FOLDER = DOCS / "reference/schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    Path: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
    Any: {},
}


@dataclasses.dataclass
class Array:
    """A list of objects that are no instances of a class."""

    item: Any


class Definitions:
    """The schemas of classes that a schema refers to."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self._classes: dict[str, type] = {}

    def schema(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a type, a dataclass, or a mapping from the names of fields to types."""
        if isinstance(kind, Array):
            return {"type": "array", "items": self.schema(kind.item)}
        if isinstance(kind, Mapping):
            properties = {name: self.schema(one) for name, one in kind.items()}
            return {"type": "object", "properties": properties, "required": sorted(properties)}
        if kind in PLAIN:
            return dict(PLAIN[kind])
        arguments = get_args(kind)
        if get_origin(kind) in (Union, types.UnionType):
            arms = [self.schema(one) for one in arguments if one is not type(None)]
            return {"anyOf": [*arms, {"type": "null"}]} if type(None) in arguments else {"anyOf": arms}
        if get_origin(kind) in (tuple, list, Sequence):
            return {"type": "array", "items": self.schema(arguments[0])}
        if get_origin(kind) is dict or get_origin(kind) is Mapping:
            return {"type": "object", "additionalProperties": self.schema(arguments[1])}
        if hasattr(kind, "to_plain"):
            return {"type": "object"}
        return self._reference(kind)

    def _reference(self, kind: type) -> dict[str, Any]:
        name = kind.__name__
        if self._classes.setdefault(name, kind) is not kind:
            name = f"{kind.__module__.rpartition('.')[2]}.{name}"
            self._classes[name] = kind
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self.schema(fields_of(kind))
        return {"$ref": f"#/$defs/{name}"}


def fields_of(kind: Any, *without: str) -> dict[str, Any]:
    """Return the types of the fields of a dataclass that are printed, by name."""
    hints = get_type_hints(kind)
    return {
        field.name: hints[field.name]
        for field in dataclasses.fields(kind)
        if field.metadata.get("stored", True) and field.name not in without
    }


def document(name: str, output: Any) -> dict[str, Any]:
    """Return the complete schema of the output ``name``."""
    definitions = Definitions()
    found = {"$schema": DRAFT, "title": name, **definitions.schema(output)}
    return {**found, "$defs": definitions.found} if definitions.found else found


def outputs() -> dict[str, Any]:
    """Return what each output consists of, by the name of its schema."""
    from igny8_backup.catalog.backups import Entry
    from igny8_backup.formats.details import Details, Skipped
    from igny8_backup.formats.documents.annotations import Annotations, Pin
    from igny8_backup.formats.documents.fleet import FleetRecord
    from igny8_backup.formats.documents.fleet_restore import FleetRestore, HostRestore
    from igny8_backup.formats.documents.retirement import Retirement
    from igny8_backup.formats.manifest import Manifest
    from igny8_backup.formats.parts.database import DatabasePart
    from igny8_backup.formats.parts.tree import TreePart
    from igny8_backup.journal import Journal
    from igny8_backup.operations.backup.suspects import Suspect
    from igny8_backup.operations.copies.heal import Healed
    from igny8_backup.operations.copies.result import CopyResult
    from igny8_backup.operations.drill.result import DrillResult
    from igny8_backup.operations.extract.archive import ArchiveResult
    from igny8_backup.operations.extract.plan import ExtractResult
    from igny8_backup.operations.keys.identity_check import IdentityCheck
    from igny8_backup.operations.keys.keygen import KeyPairs
    from igny8_backup.operations.maintain.accept import AcceptResult
    from igny8_backup.operations.maintain.orphans import OrphanObject
    from igny8_backup.operations.maintain.pruning.prune import PruneResult
    from igny8_backup.operations.maintain.pruning.untrusted import UntrustedResult
    from igny8_backup.operations.maintain.sharing import Sharing
    from igny8_backup.operations.monitor.health import Health
    from igny8_backup.operations.report.model import AuditReport
    from igny8_backup.operations.restore.in_place import InPlaceResult
    from igny8_backup.operations.restore.planning.plan import Source, Space
    from igny8_backup.operations.rotate.plan import RotationPlan
    from igny8_backup.operations.rotate.run import RotationResult
    from igny8_backup.operations.sign import SignResult
    from igny8_backup.operations.spot_check.result import SpotResult
    from igny8_backup.operations.undo.copies import Exchange
    from igny8_backup.operations.verify.all_results import AllVerified
    from igny8_backup.operations.verify.result import VerifyResult
    from igny8_backup.standing import CopyStanding

    standings = {"standings": list[CopyStanding]}
    entry = fields_of(Entry, "verdict", "untrusted")
    annotations = fields_of(Annotations)
    fleet = {"fleet": FleetRecord, "untrusted": str}
    drilled = {**fields_of(DrillResult, "manifest"), "seconds": float}
    swapped = {"alias": str, "name": str, "existed": bool, "place": str, "side": str, "before": str}
    excluded = {"excluded_files": int, "excluded_bytes": int}
    moved = {"name": str, "root": str, "kept": str, "plan": Any, "whole": bool, **excluded}
    journal = {
        **fields_of(Journal, "databases", "trees"),
        "databases": Array(swapped),
        "trees": Array(moved),
    }
    plan = {"notes": list[str], "obstacles": list[str]}
    exchange = fields_of(Exchange)
    tree = {"part": TreePart, "backup": str, "root": str, "empty": bool, **excluded}
    part = {"backup": str, "part": DatabasePart}
    new_tree = {"backup": str, "part": TreePart, "folder": str, "files": int, "bytes": int}
    return {
        "error": {"error": str, "message": str, "exit_status": int},
        "backup": {
            "manifest": Manifest | None,
            "skipped": list[Skipped],
            "newly_excluded": dict[str, Any],
            "suspects": list[Suspect],
            "whole": bool,
            "warnings": list[str],
            "copies": list[CopyResult],
        },
        "backup_fleet": {"fleet": FleetRecord},
        "list_backups": Array({**entry, **annotations, **standings}),
        "list_backups-fleets": Array(fleet),
        "list_backups-orphans": {
            "litter": list[OrphanObject],
            "in_use": list[OrphanObject],
            "doubtful": list[OrphanObject],
            "unreadable": Array({"id": str, "problem": str}),
            "lost": list[str],
        },
        "show_backup": {
            "manifest": Manifest,
            "details": Details | None,
            **annotations,
            **standings,
            "sharing": list[Sharing],
        },
        "show_backup-fleet": fleet,
        "show_backup-files": {"tree": str, "kind": str, "path": str},
        "verify_backup": {
            **fields_of(AllVerified),
            "results": list[VerifyResult],
            "unread_backups": list[str],
        },
        "drill_backup": {**drilled, "results": Array(drilled), "left_out": list[str]},
        "prune_backups": {**fields_of(PruneResult), **fields_of(Healed), "dry_run": bool},
        "prune_backups-untrusted": {"untrusted": Array(entry), **fields_of(UntrustedResult), "dry_run": bool},
        "copy_backups": {"copies": list[CopyResult], "complete": bool},
        "pin_backup": {"id": str, "pin": Pin | None},
        "accept_backup": fields_of(AcceptResult),
        "accept_backup-lost": {"id": str, "lost": bool},
        "accept_backup-next": {"next": list[str]},
        "retire_host": fields_of(Retirement),
        "rotate_recipients": {"plan": RotationPlan, **fields_of(RotationResult)},
        "sign_backups": fields_of(SignResult),
        "monitor_backups": {"healthy": bool, **fields_of(Health)},
        "report_backups": fields_of(AuditReport),
        "spot_check": {**fields_of(SpotResult), "complete": bool},
        "check_identity": {**fields_of(IdentityCheck), "complete": bool},
        "generate_backup_key": fields_of(KeyPairs),
        "generate_signing_key": {"key_file": str, "public_key": str},
        "restore_all": {
            "journal": journal,
            "warnings": list[str],
            "resumed": bool,
            "stopped": list[str],
            "purged": int | None,
        },
        "restore_all-fleet": {
            "fleet_restore": FleetRestore,
            "hosts": list[HostRestore],
            "resumed": bool,
            "stopped": list[str],
        },
        "restore_all-fleet-plan": {"fleet_restore": FleetRestore, "hosts": list[HostRestore], **plan},
        "restore_all-join": {"host": HostRestore},
        "restore_all-in-place": fields_of(InPlaceResult),
        "restore_all-plan": {
            "created": datetime,
            "host": str,
            "environment": str,
            "sources": list[Source],
            "databases": Array({**part, "target": Any, "same_server": bool}),
            "trees": Array({**tree, "seconds_after_database": int | None}),
            "replaces": Any,
            "spaces": list[Space],
            "workers": Any,
            **plan,
        },
        "restore_all-in-place-plan": {"in_place": bool, **part, "target": Any, **plan},
        "extract_backup": fields_of(ExtractResult),
        "extract_backup-archive": fields_of(ArchiveResult),
        "extract_backup-plan": {
            "databases": Array({**part, "name": str, "tables": list[str]}),
            "trees": Array(new_tree),
            "spaces": list[Space],
            **plan,
        },
        "undo_restore": {
            "journal": journal,
            "warnings": list[str],
            "stopped": list[str],
            "discardable": bool,
        },
        "undo_restore-plan": {
            "action": str,
            "stamp": str,
            "exchanges": Array({**exchange, "vanishes": bool}),
        },
        "undo_restore-discard": {"discarded": Array(journal), "released": list[str]},
        "undo_restore-discard-plan": {
            "kept": Array({"stamp": str, "since": datetime, **exchange, "only_copy": bool}),
            "safety": list[str],
            "obstacles": list[str],
        },
    }


def rendered() -> dict[str, str]:
    """Return the text of each schema file by its name."""
    return {
        f"{name}.json": json.dumps(document(name, output), indent=2, sort_keys=True) + "\n"
        for name, output in outputs().items()
    }


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.with_name("testproject")))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    for name, text in rendered().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
