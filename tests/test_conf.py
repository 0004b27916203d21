"""The settings: every key, its valid values, and that messages contain no secret."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.test import override_settings

from igny8_backup.conf import (
    Config,
    ConfigurationError,
    Encryption,
    Limits,
    get_config,
    problems,
    project_dir,
)
from igny8_backup.retention import Part, Policy

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
SECRET = "AGE-SECRET-KEY-1" + "Q" * 58


def config(**keys: Any) -> Config:
    with override_settings(IGNY8_BACKUP=keys):
        return get_config()


def complaints(value: Any) -> list[tuple[str, str]]:
    """Return the ids and texts of the problems, and assert that the error has them too."""
    with override_settings(IGNY8_BACKUP=value):
        found = problems()
        if found:
            with pytest.raises(ConfigurationError) as caught:
                get_config()
            for problem in found:
                assert problem.message in str(caught.value) and problem.hint in str(caught.value)
            assert "Nothing was read or written." in str(caught.value)
            assert caught.value.exit_status == 2
            assert isinstance(caught.value, ImproperlyConfigured)
    return [(problem.id.removeprefix("igny8_backup."), problem.message + problem.hint) for problem in found]


@pytest.fixture
def databases(settings: Any) -> Iterator[dict[str, Any]]:
    """``DATABASES``, which tests may change."""
    before = dict(settings.DATABASES)
    yield settings.DATABASES
    settings.DATABASES.clear()
    settings.DATABASES.update(before)


def test_config_without_settings_has_defaults() -> None:
    assert config() == Config(
        prefix="igny8/",
        host=socket.gethostname(),
        environment="production",
        databases=("default",),
        sites={},
        logs={},
        encryption=Encryption(),
        compression_level=3,
        files_compression_level=2,
        jobs=2,
        scratch_dir=Path(tempfile.gettempdir()),
        state_dir=project_dir() / ".igny8_backup/state",
        exclude_table_data={},
        exclude={},
        exclude_caches=True,
        sanitizers={},
        probes={},
        swap_whole=(),
        client_bin_dir=None,
        assume_space=None,
        retention=Policy(last=3, daily=14, weekly=8, monthly=12),
        max_age={},
        limits=Limits(),
        stall_seconds=60,
        before_restore=(),
        after_restore=(),
        debug=False,
    )
    with override_settings(DEBUG=True):
        assert config().environment == "development"


def test_config_without_the_setting_has_defaults(settings: Any) -> None:
    del settings.IGNY8_BACKUP
    assert get_config().prefix == "igny8/"


def test_config_reads_every_key() -> None:
    found = config(
        PREFIX="a/b",
        HOST="web-1.example.org",
        ENVIRONMENT="staging",
        DATABASES=["default"],
        SITES={"sites-data": "/data/sites", "uploads": Path("/data/uploads")},
        LOGS={"logs": "/data/logs"},
        ENCRYPTION={"RECIPIENTS": [RECIPIENT], "IDENTITY_FILE": "/run/secrets/key"},
        COMPRESSION_LEVEL=19,
        FILES_COMPRESSION_LEVEL=18,
        JOBS=64,
        SCRATCH_DIR="/scratch",
        STATE_DIR=Path("/state"),
        EXCLUDE_TABLE_DATA={"default": ["django_session"]},
        EXCLUDE={"uploads": ["*.tmp", "!/keep.tmp"]},
        EXCLUDE_CACHES=False,
        SWAP_WHOLE=["uploads"],
        SANITIZERS={"default": ["igny8_backup.sanitizers.users", Path("/srv/more.sql")]},
        PROBES={"default": {"total": "SELECT sum(total) FROM invoice"}},
        CLIENT_BIN_DIR="/usr/lib/postgresql/18/bin",
        ASSUME_SPACE="1.5 TB",
        RETENTION={"within": timedelta(days=2), "yearly": 3},
        MAX_AGE={"logs": timedelta(days=8), "web-0/uploads": None},
        MONITOR={"verified": timedelta(days=3), "drilled": None},
        STALL_SECONDS=30,
        BEFORE_RESTORE=[["docker", "compose", "stop"]],
        AFTER_RESTORE=(("true",),),
    )
    assert found == Config(
        prefix="a/b/",
        host="web-1.example.org",
        environment="staging",
        databases=("default",),
        sites={"sites-data": Path("/data/sites"), "uploads": Path("/data/uploads")},
        logs={"logs": Path("/data/logs")},
        encryption=Encryption(recipients=(RECIPIENT,), identity_file=Path("/run/secrets/key")),
        compression_level=19,
        files_compression_level=18,
        jobs=64,
        scratch_dir=Path("/scratch"),
        state_dir=Path("/state"),
        exclude_table_data={"default": ("django_session",)},
        exclude={"uploads": ("*.tmp", "!/keep.tmp")},
        exclude_caches=False,
        swap_whole=("uploads",),
        sanitizers={"default": ("igny8_backup.sanitizers.users", "/srv/more.sql")},
        probes={"default": {"total": "SELECT sum(total) FROM invoice"}},
        client_bin_dir=Path("/usr/lib/postgresql/18/bin"),
        assume_space=1_500_000_000_000,
        retention=Policy(within=timedelta(days=2), yearly=3),
        max_age={"logs": timedelta(days=8), "web-0/uploads": None},
        limits=Limits(verified=timedelta(days=3), drilled=None),
        stall_seconds=30,
        before_restore=(("docker", "compose", "stop"),),
        after_restore=(("true",),),
        debug=False,
    )
    assert found.recipients == (RECIPIENT,)


def test_max_age_of_part_prefers_host_and_name() -> None:
    found = config(MAX_AGE={"uploads": timedelta(days=8), "web-0/uploads": None})
    ages = [
        found.max_age_of(Part(host=host, kind="files", name=name))
        for host, name in (("web-1", "uploads"), ("web-0", "uploads"), ("web-0", "sites"))
    ]
    assert ages == [timedelta(days=8), None, timedelta(days=2)]


def test_encryption_is_off_only_with_explicit_none() -> None:
    assert config(ENCRYPTION=None).encryption is None
    assert config(ENCRYPTION=None).recipients == ()
    wrong: Any
    for wrong in (False, "", 0, [], "none"):
        assert complaints({"ENCRYPTION": wrong})[0][0] == "E003"
    assert config(ENCRYPTION={}).encryption == Encryption()


@pytest.mark.parametrize(("prefix", "kept"), [("", ""), ("igny8", "igny8/"), ("a/b/", "a/b/")])
def test_prefix_ends_with_one_slash_or_is_empty(prefix: str, kept: str) -> None:
    assert config(PREFIX=prefix).prefix == kept


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_setting_other_than_dict_is_a_problem(value: Any) -> None:
    assert complaints(value)[0][0] == "E001"


KEYS = [field.name.upper() for field in fields(Config) if field.name != "debug"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "value",
    [
        object(),
        1.5,
        b"x",
        True,
        [[]],
        {"": 1},
        {1: []},
        [None],
        ["default", 1],
        {"x": object()},
        "\0",
        "../x",
    ],
)
def test_problem_of_any_wrong_value_names_the_key(key: str, value: Any) -> None:
    found = complaints({key: value})
    if key == "ENVIRONMENT" and isinstance(value, str):
        return  # any text is a name for an environment
    if key == "EXCLUDE_CACHES" and value is True:
        return
    assert found
    assert all(key in text or ("alias" in text and key == "DATABASES") for _, text in found), found


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        ({"SITE": {}}, "E002", "unknown key 'SITE'"),
        ({"prefix": "x"}, "E002", "unknown key 'prefix'"),
        ({"ENCRYPTION": {"RECIPIENT": []}}, "E002", "unknown key 'RECIPIENT'"),
        ({"SITES": {"a": "relative"}}, "E004", "['SITES']['a'] is not an absolute path: 'relative'"),
        ({"SITES": {"a": None}}, "E004", "['SITES']['a']"),
        ({"SITES": {"a/b": "/x"}}, "E006", "the name 'a/b'"),
        ({"SITES": {"": "/x"}}, "E006", "the name ''"),
        ({"SITES": {"a" * 64: "/x"}}, "E006", "at most 63"),
        ({"SITES": {"a": "/x"}, "LOGS": {"a": "/y"}}, "E006", "share the name 'a'"),
        ({"STATE_DIR": "state"}, "E004", "['STATE_DIR'] is not an absolute path"),
        ({"STATE_DIR": "/a\0b"}, "E004", "['STATE_DIR'] is not an absolute path"),
        ({"CLIENT_BIN_DIR": "bin"}, "E004", "CLIENT_BIN_DIR"),
        ({"ENCRYPTION": {"IDENTITY_FILE": "key"}}, "E004", "IDENTITY_FILE"),
        ({"JOBS": 0}, "E005", "from 1 to 64"),
        ({"JOBS": 65}, "E005", "from 1 to 64"),
        ({"JOBS": "2"}, "E003", "is str, not int"),
        ({"COMPRESSION_LEVEL": 20}, "E005", "from 1 to 19"),
        ({"DATABASES": ["defualt"]}, "E007", "Choose among: default"),
        ({"DATABASES": "default"}, "E003", "['DATABASES'] is str, not"),
        ({"ENCRYPTION": {"RECIPIENTS": RECIPIENT}}, "E008", "is not a list of strings"),
        ({"EXCLUDE_TABLE_DATA": {"default": "django_session"}}, "E009", "is not a list"),
        ({"EXCLUDE_TABLE_DATA": {"other": ["x"]}}, "E009", "'other'"),
        ({"SANITIZERS": {"default": "a.b"}}, "E013", "is not a list"),
        ({"SANITIZERS": {"other": []}}, "E013", "'other'"),
        ({"SANITIZERS": {"default": ["more.sql"]}}, "E013", "'more.sql'"),
        ({"SANITIZERS": {"default": ["/srv/more"]}}, "E013", "'/srv/more'"),
        ({"EXCLUDE": {"other": ["x"]}}, "E018", "neither SITES nor LOGS"),
        ({"EXCLUDE": {"uploads": "*.tmp"}}, "E018", "is not a list"),
        ({"SITES": {"uploads": "/u"}, "EXCLUDE": {"uploads": ["["]}}, "E018", "'[': it matches nothing"),
        ({"SITES": {"uploads": "/u"}, "EXCLUDE": {"uploads": ["!"]}}, "E018", "cannot be read"),
        ({"SITES": {"uploads": "/u"}, "EXCLUDE": {"uploads": ["*a*b*c*d*"]}}, "E018", "more than 4 stars"),
        ({"EXCLUDE_CACHES": "no"}, "E003", "is str, not bool"),
        ({"SWAP_WHOLE": ["other"]}, "E014", "neither SITES nor LOGS"),
        ({"HOST": "web 1"}, "E010", "'web 1'"),
        ({"PREFIX": "/igny8"}, "E011", "'/igny8'"),
        ({"RETENTION": {}}, "E015", "it would keep nothing"),
        ({"RETENTION": {"daily": "7"}}, "E015", "'daily' is '7', not of type int"),
        ({"RETENTION": 7}, "E003", "is int, not dict"),
        ({"MAX_AGE": {"logs": 8}}, "E016", "['MAX_AGE']['logs'] is 8"),
        ({"MAX_AGE": {"logs": timedelta()}}, "E016", "timedelta(days=8)"),
        ({"MONITOR": {"drilled": 30}}, "E026", "['MONITOR']['drilled'] is 30"),
        ({"MONITOR": {"drill": None}}, "E026", "['MONITOR']['drill'] is None"),
        ({"PREFIX": "/"}, "E011", "'/'"),
        ({"PREFIX": "a/./b"}, "E011", "relative path"),
        ({"PREFIX": "a/../b"}, "E011", "relative path"),
        ({"PREFIX": "a//b"}, "E011", "relative path"),
        ({"PREFIX": "a\\b"}, "E011", "relative path"),
        ({"PREFIX": "a\nb"}, "E011", "relative path"),
        ({"ASSUME_SPACE": "a lot"}, "E012", "'a lot' is not a size such as 200GB"),
        ({"BEFORE_RESTORE": "docker compose stop"}, "E003", "is str, not list"),
        ({"BEFORE_RESTORE": ["docker compose stop"]}, "E017", "run without a shell"),
        ({"BEFORE_RESTORE": [["docker"], []]}, "E017", "is not a list of argument lists"),
        ({"AFTER_RESTORE": [["docker", 1]]}, "E017", "['AFTER_RESTORE'] is not a list of argument lists"),
        ({"AFTER_RESTORE": [["", "x"]]}, "E017", "is not a list of argument lists"),
        ({"ASSUME_SPACE": -1}, "E012", "'-1' is not a size"),
    ],
)
def test_problems_have_stable_ids_and_messages(value: Any, number: str, text: str) -> None:
    found = complaints(value)
    assert [one for one, _ in found] == [number]
    assert text in found[0][1]


def test_get_config_reports_all_problems_at_once() -> None:
    found = complaints({"JOBS": 0, "HOST": "", "SITES": {"a": "b", "c": "d"}, "X": 1})
    assert sorted(number for number, _ in found) == ["E002", "E004", "E004", "E005", "E010"]


@pytest.mark.parametrize(
    "value",
    [
        {"ENCRYPTION": {"RECIPIENTS": SECRET}},
        {"ENCRYPTION": {"RECIPIENTS": [[SECRET]]}},
        {"ENCRYPTION": {"RECIPIENTS": {SECRET: 1}}},
        {"ENCRYPTION": {"IDENTITY_FILE": SECRET}},
        {"ENCRYPTION": {"IDENTITY_FILE": [SECRET]}},
        {"ENCRYPTION": {SECRET: 1}},
        {"ENCRYPTION": SECRET},
        {"ENCRYPTION": [SECRET]},
        {SECRET: 1},
        SECRET,
    ],
)
def test_problems_never_contain_a_private_key(value: Any) -> None:
    found = complaints(value)
    assert found and "Q" * 8 not in repr(found)


def test_databases_omit_replicas(databases: dict[str, Any]) -> None:
    default = databases["default"]
    databases["replica"] = {**default, "TEST": {"MIRROR": "default"}}
    databases["second"] = {**default, "TEST": {}}
    databases["unused"] = {}
    assert config().databases == ("default", "second")
    assert config(DATABASES=["replica", "second", "replica"]).databases == ("replica", "second")
    assert complaints({"DATABASES": ["unused"]})[0][1].endswith("Choose among: default, replica, second.")


def test_database_alias_invalid_in_keys_is_a_problem(databases: dict[str, Any]) -> None:
    databases["a/b"] = databases["default"]
    assert complaints({})[0][0] == "E007"
    assert config(DATABASES=["default"]).databases == ("default",)


def test_config_is_read_again_after_a_change(settings: Any) -> None:
    settings.IGNY8_BACKUP = {"HOST": "one"}
    assert get_config().host == "one"
    assert get_config() is get_config()
    gc.collect()  # a signal's receiver that nobody else holds would be gone now
    settings.IGNY8_BACKUP = {"HOST": "two"}
    assert get_config().host == "two"
    settings.DEBUG = True
    assert get_config().debug
    before = get_config()
    setting_changed.send(sender=None, setting="ANY", value=None, enter=True)
    assert get_config() is not before


def test_project_dir_is_base_dir(settings: Any, tmp_path: Path) -> None:
    settings.BASE_DIR = str(tmp_path)
    assert project_dir() == tmp_path


def test_project_dir_without_base_dir_is_derived(tmp_path: Path) -> None:
    package = tmp_path / "site_"
    package.mkdir()
    (package / "settings.py").write_text("DATABASES = {}\n")
    done = subprocess.run(
        [sys.executable, "-c", "from igny8_backup.conf import project_dir; print(project_dir())"],
        env={"PYTHONPATH": f"{tmp_path}:{REPOSITORY}", "DJANGO_SETTINGS_MODULE": "site_.settings"},
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(tmp_path), done.stderr


@pytest.mark.parametrize(
    "value",
    [
        {"x": 1},
        {"x": ""},
        {1: "SELECT 1"},
        {"x": "SELECT count(*) FROM visit WHERE at > NOW() - interval '1 day'"},
        {"x": "SELECT random()"},
        {"default": {"x": "SELECT current_date"}},
        {"other": {"x": "SELECT 1"}},
        {"x": "SELECT 1", "default": {"y": "SELECT 1"}},
        "SELECT 1",
    ],
)
def test_probes_with_changing_results_are_a_problem(settings: Any, value: Any) -> None:
    settings.IGNY8_BACKUP = {"PROBES": value, "DATABASES": ["default"]}
    assert {problem.id[-4:] for problem in problems()} <= {"E019", "E003"} and problems()


def test_probes_of_one_and_of_several_databases_are_read(settings: Any) -> None:
    query = {"known": "SELECT count(*) FROM snowflake"}
    for value in (query, {"default": query}):
        settings.IGNY8_BACKUP = {"PROBES": value, "DATABASES": ["default"]}
        assert get_config().probes == {"default": query}
