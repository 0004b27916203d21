"""Partial copies: a signed document names what they hold; the rest is neither missing nor complete."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from igny8_backup.errors import UsageError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.annotations import CheckedPart
from igny8_backup.formats.documents.copy_document import SCHEMA, CopyDocument, copy_key
from igny8_backup.formats.manifest import COMPLETE, NOT_COPIED, Manifest
from igny8_backup.management.backup_text import backup_table
from igny8_backup.operations.context import BackupContext
from igny8_backup.operations.extract.plan import ExtractRequest, plan_extract, run_extract
from igny8_backup.operations.history.read import read_history
from igny8_backup.operations.maintain.pruning.prune import prune
from igny8_backup.operations.maintain.pruning.sweep import GRACE
from igny8_backup.operations.monitor.run import monitor
from igny8_backup.operations.verify.result import VerifyRequest
from igny8_backup.operations.verify.run import verify
from tests.operations.clocks import Clock
from tests.operations.copies.conftest import Opened
from tests.operations.copies.test_monitor import failed
from tests.operations.copies.test_run import copy_all, objects
from tests.operations.signed import Keys, backed_up

pytestmark = pytest.mark.slow

SITES = {"offsite": {"storage": "offsite", "parts": ["files:sites"]}}


def states(context: BackupContext) -> dict[str, str]:
    (entry,) = context.catalog.entries()
    assert entry.manifest
    return {part.name: part.state for part in entry.manifest.parts}


def packs(manifest: Manifest, tree: str) -> set[str]:
    return {pack.key for one in manifest.trees for pack in one.packs if one.name == tree}


def test_copy_of_one_part_is_sound_restores_that_part_and_has_no_other(
    opened: Opened, clock: Clock, tmp_path: Path
) -> None:
    with opened(copies=SITES) as context:
        manifest = backed_up(context)
        assert copy_all(context).copied == (manifest.id,)
        assert failed(context) == {}
    stored = objects(tmp_path / "offsite").keys()
    assert packs(manifest, "sites") < stored and not packs(manifest, "uploads") & stored
    with opened("offsite", copies=SITES, changing=True) as copy:
        assert states(copy) == {"sites": COMPLETE, "uploads": NOT_COPIED}
        assert "partial copy" in backup_table(read_history(copy))
        assert verify(copy, VerifyRequest(backup_id=manifest.id, depth="content")).findings == ()
        for _ in range(2):
            clock.forward(hours=GRACE.total_seconds() / 3600 + 1)
            assert prune(copy).swept == ()
        assert objects(tmp_path / "offsite").keys() >= stored
        plan = plan_extract(copy, ExtractRequest(only="sites", to_dir=tmp_path / "new"))
        run_extract(copy, plan)
        with pytest.raises(UsageError, match="No backup has a complete copy of the tree 'uploads'"):
            plan_extract(copy, ExtractRequest(only="uploads", to_dir=tmp_path / "more"))
    assert (tmp_path / "new/sites/b/page").read_text() == "sites b as it was\n"


def test_suspect_part_that_is_not_copied_does_not_hold_up_the_copy(
    opened: Opened, clock: Clock, trees: tuple[Path, Path]
) -> None:
    with opened(copies=SITES) as context:
        backed_up(context)
        clock.forward(days=1)
        for path in trees[1].rglob("page"):
            path.unlink()
        shrunk = backed_up(context)
        result = copy_all(context)
        assert shrunk.id in result.copied and not result.left_out


def test_copy_document_counts_only_with_a_trusted_signature_and_for_its_manifest(
    opened: Opened, host: Any, keys: Keys, clock: Clock, tmp_path: Path
) -> None:
    with opened(copies=SITES), host(signs="web", trusts=["web"], clock=clock) as context:
        manifest = backed_up(context)
        copy_all(context)
        with opened("offsite", copies=SITES) as copy:
            assert states(copy) == {"sites": COMPLETE, "uploads": NOT_COPIED}
            data = copy.store.read_small(copy_key(manifest.id))
            document = records.from_json(CopyDocument, data, name="x", schema=SCHEMA)
            assert document.parts == (CheckedPart(kind="files", name="sites"),)
            forged = replace(document, parts=(CheckedPart(kind="files", name="uploads"),))
            copy.store.put_small(copy_key(manifest.id), records.to_json(forged))
            assert set(states(copy).values()) == {COMPLETE}  # what is not there is missing
            assert any(not item.fit for item in read_history(copy).standings.copies)
    with host(trusts=[]), opened("offsite", copies=SITES) as copy:
        other = replace(document, manifest_sha256="0" * 64)
        copy.store.put_small(copy_key(manifest.id), records.to_json(other))
        assert set(states(copy).values()) == {COMPLETE}
        copy.store.put_small(copy_key(manifest.id), b"{")
        assert set(states(copy).values()) == {COMPLETE}


def test_copy_document_in_the_storage_of_the_backups_is_ignored(opened: Opened) -> None:
    with opened(copies=SITES) as context:
        manifest = backed_up(context)
        copy_all(context)
        with opened("offsite", copies=SITES) as copy:
            data = copy.store.read_small(copy_key(manifest.id))
        context.store.put_small(copy_key(manifest.id), data)
        assert set(states(context).values()) == {COMPLETE}


def test_key_that_may_not_sign_copy_documents_copies_only_whole_backups(
    opened: Opened, host: Any, keys: Keys
) -> None:
    limited = {"KEY": keys.line("web"), "SIGNS": ["manifest", "check"]}
    with opened(copies=SITES), host(signs="web", trusts=[limited]) as context:
        backed_up(context)
        result = copy_all(context)
        (reason,) = result.failed.values()
        assert "may not sign a copy" in reason and not result.complete
    with opened(copies=None) as context:
        assert copy_all(context).complete


def test_whole_copy_replaces_a_partial_one_that_was_removed(opened: Opened, tmp_path: Path) -> None:
    with opened(copies=SITES) as context:
        manifest = backed_up(context)
        copy_all(context)
        (tmp_path / "offsite/igny8" / keys.manifest_key(manifest.id)).unlink()
    with opened() as context:
        assert copy_all(context).copied == (manifest.id,)
        with opened("offsite") as copy:
            assert set(states(copy).values()) == {COMPLETE}


def test_parts_of_a_partial_copy_are_in_its_json(
    opened: Opened, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with opened(copies=SITES) as context:
        backed_up(context)
        copy_all(context)
        conditions = [item.of for item in monitor(context).conditions if item.name == "copied"]
    assert conditions == ["files sites of web-1 in offsite"]
    (path,) = (tmp_path / "offsite").rglob("copy.json")
    assert json.loads(path.read_text())["parts"] == [{"kind": "files", "name": "sites"}]
