"""Restores without owners, or with another locale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.server import PostgresServer

from igny8_backup.databases.sqlite import SqliteEngine
from igny8_backup.databases.values import RestoreSelection
from igny8_backup.errors import UsageError
from igny8_backup.formats.details import DatabaseDetails, Privilege
from igny8_backup.operations.staging.overrides import RestoreOverrides, apply_overrides
from tests.databases.stage import Stage, blocks_of, configured


@pytest.fixture
def stage(pg: PostgresServer, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(pg, tmp_path / "scratch")
    made.create()
    yield made
    made.remove()


@pytest.mark.postgres(15, 18)
def test_no_owner_restores_without_the_roles_of_the_backup(stage: Stage) -> None:
    engine, staging = stage.engine, stage.staging
    owner, reader, named = (stage.make_role(word) for word in ("owner", "reader", "named"))
    stage.admin(f"GRANT {owner} TO {stage.server.role}")
    stage.sql(
        f"ALTER TABLE item OWNER TO {owner}; GRANT SELECT ON part TO {reader};"
        f"CREATE POLICY theirs ON part TO {named} USING (true);"
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO {reader};"
        f"ALTER ROLE {reader} IN DATABASE {stage.name} SET work_mem TO '9MB';"
        f"REVOKE ALL ON DATABASE {stage.name} FROM PUBLIC; GRANT CREATE ON DATABASE {stage.name} TO {reader}",
        superuser=True,
    )
    details, part = engine.describe(()), stage.part()
    assert details.policy_roles == (named,)
    data = b"".join(engine.dump(details))
    stage.server.drop_database(stage.name)
    for role in stage.roles:
        stage.admin(f"DROP ROLE {role}")
    stage.roles.clear()

    roles, policies, *_ = engine.blockers(part, details)
    assert f'"{owner}"; CREATE ROLE "{reader}";' in roles and "--no-owner" in roles
    assert (
        policies == f'Roles that row-level security policies name do not exist here: CREATE ROLE "{named}";'
    )
    adapted, notes = apply_overrides(engine, details, RestoreOverrides(owners=False))
    assert notes == ("stage: igny8 will own everything. Privileges of other roles are left out.",)
    # A row-level security policy cannot exist without its role.
    assert engine.blockers(part, adapted) == [policies]
    stage.make_role("named")
    assert engine.blockers(part, adapted) == []
    engine.create_staging(staging, adapted)
    engine.load(
        staging,
        blocks_of(data),
        jobs=2,
        selection=RestoreSelection(owners=False),
    )
    engine.copy_settings(staging, adapted)
    engine.swap(staging, stage.previous, adapted)
    owners = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('item', 'part')"
    assert stage.sql(owners) == [("igny8",)]
    assert stage.sql("SELECT count(*) FROM pg_policy") == [(1,)]
    acl = "SELECT datacl::text, pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s"
    assert stage.admin(acl, stage.name) == [("{igny8=CTc/igny8}", "igny8")]
    assert engine.describe(()).settings == ()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (RestoreOverrides(locale="C"), ("libc", "C", "C", None)),
        (RestoreOverrides(locale="C.UTF-8", provider="builtin"), ("builtin", "C", "C", "C.UTF-8")),
    ],
)
def test_locale_restores_without_the_locale_of_the_backup(
    stage: Stage, changes: RestoreOverrides, found: tuple[str, str, str, str | None]
) -> None:
    engine, staging = stage.engine, stage.staging
    recorded = DatabaseDetails(
        alias="stage", name="x", tables=(), encoding="UTF8", provider="icu", locale="xx-Nowhere",
        collate="xx_XX.utf8", ctype="xx_XX.utf8", icu_rules="&a < b", owner="igny8",
    )  # fmt: skip
    adapted, notes = apply_overrides(engine, recorded, changes)
    assert "instead of xx-Nowhere" in notes[0]
    engine.create_staging(staging, adapted)
    made = stage.engine_with(NAME=staging).describe(())
    assert (made.provider, made.collate, made.ctype, made.locale) == found


def test_no_owner_keeps_database_privileges_of_public(stage: Stage) -> None:
    everybody = Privilege(grantee="", privilege="CONNECT", grantable=False)
    other = Privilege(grantee="other", privilege="CONNECT", grantable=True)
    details = DatabaseDetails(alias="stage", name="x", tables=(), privileges=(everybody, other))
    adapted, _ = apply_overrides(stage.engine, details, RestoreOverrides(owners=False))
    assert adapted.privileges is not None
    assert [item.grantee for item in adapted.privileges] == ["igny8", "igny8", "igny8", ""]
    unchanged = DatabaseDetails(alias="stage", name="x", tables=())
    assert apply_overrides(stage.engine, unchanged, RestoreOverrides(owners=False))[0].privileges is None
    assert apply_overrides(stage.engine, details, RestoreOverrides()) == (details, ())


def test_overrides_of_sqlite_are_refused(tmp_path: Path) -> None:
    details = DatabaseDetails(alias="contract", name="x", tables=())
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}
    with (
        configured("contract", sqlite),
        pytest.raises(UsageError, match="with other owners"),
    ):
        apply_overrides(SqliteEngine("contract", scratch=tmp_path), details, RestoreOverrides(owners=False))
