"""A restore without an id passes over copies that cannot be relied on, and says why."""

from __future__ import annotations

import pytest

from igny8_backup.catalog.given import Given
from igny8_backup.catalog.select import Selection, select
from igny8_backup.errors import IntegrityError, RefusedError, UsageError
from igny8_backup.formats.documents.annotations import MISSING, Annotations, ObjectDamage
from igny8_backup.formats.manifest import Manifest
from igny8_backup.standing import Standings, judge
from tests.standing.history import (
    NOW,
    SITES,
    accepted,
    backup,
    database,
    half_but_logs,
    id_of,
    pack,
    tree,
)

WHOLE = [backup(night, database(night), tree(night, packs=(pack(night),))) for night in (3, 2, 1)]


def standings(manifests: list[Manifest], *missing: str, **annotations: Annotations) -> Standings:
    damage = [ObjectDamage(key=key, kind=MISSING, found=NOW) for key in missing]
    return judge(manifests, annotations, now=NOW, shrink=half_but_logs, damage=damage)


def dump(night: int) -> str:
    return database(night).dump.key


def ids(found: Selection) -> list[str]:
    return [manifest.id for manifest, _ in (*found.databases, *found.trees)]


def both(manifests: list[Manifest], judged: Standings, wanted: Given | None = None) -> Selection:
    return select(
        manifests, host="web-1", databases=("default",), trees=("sites",), wanted=wanted, standings=judged
    )


def test_select_newest_database_damaged_takes_the_one_before_and_its_files() -> None:
    found = both(WHOLE, standings(WHOLE, dump(3)))
    assert ids(found) == [id_of(2), id_of(2)]
    assert found.notes == (
        f"Backup {id_of(3)} is not used for 'default', because its copy is damaged: {dump(3)} is missing.",
    )


def test_select_newest_tree_damaged_takes_its_files_from_the_backup_before() -> None:
    found = both(WHOLE, standings(WHOLE, pack(3)))
    assert ids(found) == [id_of(3), id_of(2)]
    reason, distance = found.notes
    assert reason.startswith(f"Backup {id_of(3)} is not used for 'sites', because its copy is damaged")
    assert distance == f"The files of 'sites' come from backup {id_of(2)}, made 1 day BEFORE the database."


def test_select_old_unfit_copies_are_not_mentioned() -> None:
    found = both(WHOLE, standings(WHOLE, dump(1), pack(2)))
    assert ids(found) == [id_of(3), id_of(3)] and found.notes == ()


def test_select_named_backup_is_taken_with_warnings() -> None:
    found = both(WHOLE, standings(WHOLE, dump(3), pack(3)), wanted=Given.one(WHOLE[0]))
    assert ids(found) == [id_of(3), id_of(3)]
    assert found.notes == (
        f"WARNING: the copy of 'default' in backup {id_of(3)} is damaged: {dump(3)} is missing.",
        f"WARNING: the copy of 'sites' in backup {id_of(3)} is damaged: {pack(3)} is missing.",
    )


def test_select_suspect_copy_is_passed_over_until_it_is_accepted() -> None:
    manifests = [backup(2, tree(2, files=1, size=1)), backup(1, tree(1))]
    found = select(manifests, host="web-1", databases=(), trees=("sites",), standings=standings(manifests))
    assert ids(found) == [id_of(1)] and "is suspect: it has 1 file and 1 B" in found.notes[0]
    settled = standings(manifests, **{id_of(2): Annotations(acceptance=accepted(2, SITES))})
    found = select(manifests, host="web-1", databases=(), trees=("sites",), standings=settled)
    assert ids(found) == [id_of(2)] and found.notes == ()


def test_select_all_copies_damaged_is_an_integrity_error() -> None:
    judged = standings(WHOLE, *(dump(night) for night in (1, 2, 3)))
    with pytest.raises(
        IntegrityError, match=f"No copy of default can be relied on: backup {id_of(3)}"
    ) as caught:
        both(WHOLE, judged)
    assert f"give its id: {id_of(3)}" in str(caught.value)


def test_select_all_copies_unfit_but_not_all_damaged_is_refused() -> None:
    manifests = [*WHOLE[:2], backup(1, database(1), safety=True)]
    judged = standings(manifests, dump(2), dump(3))
    with pytest.raises(RefusedError, match=f"for example {id_of(1)}"):
        both(manifests, judged)


def test_select_part_that_no_backup_has_is_still_a_usage_error() -> None:
    with pytest.raises(UsageError, match="No backup has a complete copy of the tree 'uploads'"):
        select(WHOLE, host="web-1", databases=(), trees=("uploads",), standings=standings(WHOLE, dump(3)))


def test_select_copies_of_another_environment_are_named_once_with_the_option_to_read_them() -> None:
    reason = "it was made in the environment 'production', and this is 'test'"
    judged = judge(
        WHOLE,
        {},
        now=NOW,
        shrink=half_but_logs,
        untrusted=dict.fromkeys([id_of(1), id_of(2), id_of(3)], reason),
    )
    with pytest.raises(RefusedError) as caught:
        both(WHOLE, judged)
    assert str(caught.value) == (
        f"No copy of default can be relied on: backup {id_of(3)} and 2 earlier ones: 'default', untrusted:"
        f" {reason}. Nothing was changed. If you know that one of them is right, give its id, for example"
        f" {id_of(3)}. An untrusted one also needs --accept-foreign, or --accept-unsigned if no trusted key"
        " signed it. To leave this part out, name the others: --only."
    )
