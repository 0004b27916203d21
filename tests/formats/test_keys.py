"""Ids and keys: everything that is built can be parsed, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igny8_backup.formats import keys

FIRST = "abcxyzABCXYZ019"
names = st.builds("{}{}".format, st.sampled_from(FIRST), st.text(FIRST + "_-", max_size=62))
hosts = st.builds("{}{}".format, st.sampled_from(FIRST), st.text(FIRST + "_-.", max_size=62))
tokens = st.text("0123456789abcdef", min_size=6, max_size=6)
moments = st.datetimes(datetime(1000, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
ids = st.builds(keys.make_id, moments, tokens)
suffixes = st.sampled_from([".zst", ".zst.age"])

ID = "20261122T021500Z-7f3a9c"


@given(moments, tokens)
def test_id_time_returns_the_start_of_the_backup(moment: datetime, token: str) -> None:
    backup_id = keys.make_id(moment, token)
    assert keys.is_id(backup_id)
    assert keys.id_time(backup_id) == moment.replace(microsecond=0)


def test_make_id_uses_utc() -> None:
    moment = datetime(2026, 11, 22, 4, 15, tzinfo=timezone(timedelta(hours=2)))
    assert keys.make_id(moment, "7f3a9c") == ID


@given(ids, ids)
def test_ids_sort_by_time(one: str, other: str) -> None:
    if keys.id_time(one) < keys.id_time(other):
        assert one < other


@pytest.mark.parametrize("token", ["", "7f3a9", "7f3a9cd", "7F3A9C", "../../", "7f3a9\n"])
def test_make_id_with_invalid_token_raises(token: str) -> None:
    with pytest.raises(ValueError, match="not a backup id"):
        keys.make_id(datetime(2026, 11, 22, tzinfo=UTC), token)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ID + "\n",
        " " + ID,
        ID[:-1],
        ID + "0",
        "20261322T021500Z-7f3a9c",  # a thirteenth month
        "20260230T021500Z-7f3a9c",
        "20261122T241500Z-7f3a9c",
        "20261122T021500-7f3a9c",
        "20261122T021500Z-7F3A9C",
        "２０２６1122T021500Z-7f3a9c",  # digits, but not those of ASCII: two ids would mean one moment
        "٢٠٢٦1122T021500Z-7f3a9c",
    ],
)
def test_is_id_rejects_other_texts(text: str) -> None:
    assert not keys.is_id(text)
    assert keys.parse(f"runs/{text}.json") is None
    assert keys.parse(f"backups/{text}/manifest.json") is None


@given(ids, names, hosts, suffixes, st.sampled_from(["dump", "sqlite3"]), st.integers(1, 123_456))
def test_parse_returns_every_key_that_is_built(
    backup_id: str, name: str, host: str, suffix: str, dump: str, number: int
) -> None:
    pack = keys.pack_name(backup_id, number)
    made = {
        keys.run_key(backup_id): ("run", "", ""),
        keys.manifest_key(backup_id): ("manifest", "", ""),
        keys.details_key(backup_id, suffix): ("details", "", ""),
        keys.database_key(backup_id, name, dump, suffix): ("database", name, ""),
        keys.index_key(backup_id, name, suffix): ("index", name, ""),
        keys.folders_key(backup_id, name, suffix): ("folders", name, ""),
        keys.pack_key(host, name, pack, suffix): ("pack", name, host),
        keys.pin_key(backup_id): ("pin", "", ""),
        keys.check_key(backup_id, keys.id_time(backup_id), "stored"): ("check", "stored", ""),
    }
    assert len(made) == 9, "two keys are the same"
    for key, (kind, its_name, its_host) in made.items():
        expected = keys.Key(kind=kind, backup_id=backup_id, name=its_name, host=its_host)
        assert keys.parse(key) == expected
        for broken in (f"x{key}", f"/{key}", f"{key}x", f"{key}\n", key.upper(), key.replace("-", "--", 1)):
            assert broken == key or keys.parse(broken) != expected
    assert keys.pack_of(keys.pack_key(host, name, pack, suffix)) == pack


@given(st.text())
def test_parse_accepts_any_text(text: str) -> None:
    parsed = keys.parse(text)
    assert parsed is None or keys.is_id(parsed.backup_id)


def test_parse_marks_belong_to_no_backup() -> None:
    assert keys.parse(keys.MARKS) == keys.Key(kind="marks")
    assert keys.writer(keys.MARKS) is None


@pytest.mark.parametrize(
    "key",
    [
        f"backups/{ID}/db/../../manifest.json",
        f"backups/{ID}/db/default.dump",
        f"backups/{ID}/db/.dump.zst",
        f"backups/{ID}/db/a.b.dump.zst",
        f"backups/{ID}/files/uploads.index.zst.age.age",
        f"packs//uploads/{ID}-0001.tar.zst",
        f"packs/web-1/uploads/{ID}-001.tar.zst",
        f"packs/web-1/uploads/{ID}-٠٠٠١.tar.zst",
        f"packs/web-1/../{ID}-0001.tar.zst",
    ],
)
def test_parse_returns_none_for_other_keys(key: str) -> None:
    assert keys.parse(key) is None


@pytest.mark.parametrize(
    ("key", "writer"),
    [
        (f"backups/{ID}/manifest.json", ID),
        (f"backups/{ID}/of/a/later/release", ID),
        (f"backups/{ID}/db/default.dump.zst.age.0a1b2c3d.partial", ID),
        (f"packs/web-1/uploads/{ID}-0001.tar.zst.age.0a1b2c3d.partial", ID),
        (f"runs/{ID}.json", ID),
        (f"backups/{ID}0/manifest.json", None),
        (f"other/{ID}/manifest.json", None),
        ("backups/20269922T021500Z-7f3a9c/manifest.json", None),
        ("packs/notes.txt", None),
    ],
)
def test_writer_returns_the_run_of_any_object(key: str, writer: str | None) -> None:
    assert keys.writer(key) == writer


@given(names)
def test_is_name_and_is_host_accept_the_grammar_only(name: str) -> None:
    assert keys.is_name(name) and keys.is_host(name)
    for wrong in (f"{name}/x", f"-{name}", f".{name}", f"{name}\n", f"{name}ü", name + "x" * 63, ""):
        assert not keys.is_name(wrong) and not keys.is_host(wrong)
    assert not keys.is_name(f"{name[:20]}.x") and keys.is_host(f"{name[:20]}.x")


@given(st.text())
def test_task_token_is_the_same_for_every_delivery(task_id: str) -> None:
    token = keys.task_token(task_id)
    assert token == keys.task_token(task_id)
    assert keys.is_id(f"20261122T021500Z-{token}")
