"""The settings: every key, its valid values, and that messages contain no secret."""

from __future__ import annotations

import base64
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
from igny8_backup.formats.object_lock import ObjectLock
from igny8_backup.retention.policy import Part
from igny8_backup.retention.rules import Policy
from igny8_backup.signing.sshsig import public_blob
from igny8_backup.signing.trust import Trust, TrustedKey

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


PUBLIC, OTHER = bytes(32), bytes(31) + b"\1"


def line(public: bytes) -> str:
    """The public key as generate_signing_key prints it, without the name."""
    return f"ssh-ed25519 {base64.b64encode(public_blob(public)).decode()}"


@pytest.fixture
def databases(settings: Any) -> Iterator[dict[str, Any]]:
    """``DATABASES``, which tests may change."""
    before = dict(settings.DATABASES)
    yield settings.DATABASES
    settings.DATABASES.clear()
    settings.DATABASES.update(before)


def test_sandbox_allow_reads_hosts_ports_and_unix_sockets() -> None:
    allowed = ["vault", "vault.example.com:8200", "::1", "[fe80::1]:389", "10.0.0.1:53", "/run/clamd.sock"]
    assert config(SANDBOX={"ALLOW": allowed}).sandbox.allow == (
        ("vault", None),
        ("vault.example.com", 8200),
        ("::1", None),
        ("fe80::1", 389),
        ("10.0.0.1", 53),
        ("/run/clamd.sock", None),
    )


def test_config_without_settings_has_defaults() -> None:
    assert config() == Config(
        prefix="igny8/",
        host=socket.gethostname(),
        environment="production",
        databases=("default",),
        sites={},
        logs={},
        encryption=Encryption(),
        signing_key=None,
        trust=Trust(),
        compression_level=3,
        files_compression_level=2,
        jobs=None,
        scratch_dir=Path(tempfile.gettempdir()),
        state_dir=project_dir() / ".igny8_backup/state",
        exclude_table_data={},
        exclude={},
        exclude_caches=(),
        sanitizers={},
        probes={},
        swap_whole=(),
        client_bin_dir=None,
        assume_space=None,
        retention=Policy(last=3, daily=14, weekly=8, monthly=12),
        max_age={},
        shrink={},
        limits=Limits(),
        stall_seconds=60,
        retry_seconds=900,
        workers="",
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
        SIGNING={"KEY_FILE": "/run/secrets/signing-key"},
        TRUSTED=[
            f"{line(PUBLIC)} web-1",
            {
                "KEY": line(OTHER),
                "SIGNS": ["check"],
                "HOSTS": ["laptop"],
                "PARTS": ["uploads"],
                "REVOKED": True,
            },
        ],
        COMPRESSION_LEVEL=19,
        FILES_COMPRESSION_LEVEL=18,
        JOBS=64,
        DUMP_JOBS=3,
        SCRATCH_DIR="/scratch",
        STATE_DIR=Path("/state"),
        EXCLUDE_TABLE_DATA={"default": ["django_session"]},
        EXCLUDE={"uploads": ["*.tmp", "!/keep.tmp"]},
        EXCLUDE_CACHES=["logs"],
        SWAP_WHOLE=["uploads"],
        SANITIZERS={"default": ["igny8_backup.sanitizers.users", Path("/srv/more.sql")]},
        PROBES={"default": {"total": "SELECT sum(total) FROM invoice"}},
        CLIENT_BIN_DIR="/usr/lib/postgresql/18/bin",
        ASSUME_SPACE="1.5 TB",
        RETENTION={"within": timedelta(days=2), "yearly": 3},
        MAX_AGE={"logs": timedelta(days=8), "web-0/uploads": None},
        SHRINK={"default": 0.9, "web-0/uploads": None},
        MONITOR={"verified": timedelta(days=3), "drilled": None},
        STALL_SECONDS=30,
        RETRY_SECONDS=0,
        MAX_UPLOAD_RATE="2 MB",
        YIELD_AFTER=15,
        BACKUP_EVERY={"uploads": timedelta(hours=4)},
        STATUS_CACHE="default",
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
        signing_key=Path("/run/secrets/signing-key"),
        trust=Trust(
            (
                TrustedKey(name="web-1", public=PUBLIC),
                TrustedKey(
                    name="key 2",
                    public=OTHER,
                    kinds=("check",),
                    hosts=("laptop",),
                    parts=("uploads",),
                    revoked=True,
                ),
            )
        ),
        compression_level=19,
        files_compression_level=18,
        jobs=64,
        dump_jobs=3,
        scratch_dir=Path("/scratch"),
        state_dir=Path("/state"),
        exclude_table_data={"default": ("django_session",)},
        exclude={"uploads": ("*.tmp", "!/keep.tmp")},
        exclude_caches=("logs",),
        swap_whole=("uploads",),
        sanitizers={"default": ("igny8_backup.sanitizers.users", "/srv/more.sql")},
        probes={"default": {"total": "SELECT sum(total) FROM invoice"}},
        client_bin_dir=Path("/usr/lib/postgresql/18/bin"),
        assume_space=1_500_000_000_000,
        retention=Policy(within=timedelta(days=2), yearly=3),
        max_age={"logs": timedelta(days=8), "web-0/uploads": None},
        shrink={"default": 0.9, "web-0/uploads": None},
        limits=Limits(verified=timedelta(days=3), drilled=None),
        stall_seconds=30,
        retry_seconds=0,
        max_upload_rate=2_000_000,
        yield_after=15,
        backup_every={"uploads": timedelta(hours=4)},
        status_cache="default",
        workers="",
        before_restore=(("docker", "compose", "stop"),),
        after_restore=(("true",),),
        debug=False,
    )
    assert found.recipients == (RECIPIENT,)


@pytest.mark.parametrize(
    "entry",
    [
        1,
        "ssh-rsa AAAA",
        "ssh-ed25519 AAAA",
        {},
        {"KEY": 1},
        {"KEY": "ssh-ed25519", "SIGNS": ["check"]},
    ],
)
def test_trusted_without_a_key_is_a_problem(entry: Any) -> None:
    assert complaints({"TRUSTED": [entry]})[0][0] == "E035"


@pytest.mark.parametrize(
    "limits",
    [
        {"SIGNS": ["backup"]},
        {"SIGNS": "check"},
        {"HOSTS": []},
        {"PARTS": ()},
        {"HOSTS": [1]},
        {"PARTS": "a"},
        {"PARTS": ["tree:a"]},
        {"PARTS": ["../a"]},
        {"REVOKED": 1},
        {"WHO": "me"},
    ],
)
def test_trusted_with_wrong_limits_is_a_problem(limits: dict[str, Any]) -> None:
    assert complaints({"TRUSTED": [{"KEY": line(PUBLIC), **limits}]})[0][0] == "E035"


def test_trusted_key_twice_is_a_problem() -> None:
    assert complaints({"TRUSTED": [f"{line(PUBLIC)} a", f"{line(PUBLIC)} b"]})[0][0] == "E035"


def test_signing_with_an_unknown_key_or_relative_path_is_a_problem() -> None:
    assert complaints({"SIGNING": {"KEY": "/a"}})[0][0] == "E002"
    assert complaints({"SIGNING": {"KEY_FILE": "a"}})[0][0] == "E004"


FLEET = {
    "db-1": {"queue": "backup-db-1", "databases": ["default"]},
    "web-1": {"queue": "backup-web-1", "sites": ["uploads"], "logs": ["nginx"]},
    "watch": {},
}


def test_fleet_gives_each_host_what_it_backs_up_and_names_what_is_left() -> None:
    trees = {"SITES": {"uploads": "/a", "media": "/b"}, "LOGS": {"nginx": "/c"}}
    made = config(HOST="web-1", HOSTS=FLEET, **trees)
    assert (made.databases, [*made.sites], [*made.logs]) == ((), ["uploads"], ["nginx"])
    assert {name: host.queue for name, host in made.fleet.items()} == {
        "db-1": "backup-db-1",
        "web-1": "backup-web-1",
    }
    assert made.unclaimed == ("media",)
    other = config(HOST="watch", HOSTS=FLEET, **trees)
    assert other.databases == ("default",) and [*other.sites] == ["uploads", "media"]
    assert other.unclaimed == ("media",)
    alone = config(HOST="web-1", HOSTS={"web-1": {}}, **trees)
    assert [*alone.sites] == ["uploads", "media"] and (alone.fleet, alone.unclaimed) == ({}, ())


def test_max_age_of_part_prefers_host_and_name() -> None:
    found = config(MAX_AGE={"uploads": timedelta(days=8), "web-0/uploads": None})
    ages = [
        found.max_age_of(Part(host=host, kind="files", name=name))
        for host, name in (("web-1", "uploads"), ("web-0", "uploads"), ("web-0", "sites"))
    ]
    assert ages == [timedelta(days=8), None, timedelta(days=2)]


def test_shrink_of_part_prefers_host_and_name_and_knows_logs() -> None:
    found = config(SHRINK={"uploads": 0.9, "web-0/uploads": None, "access": 0.2})
    shares = [
        found.shrink_of(Part(host=host, kind="files", name=name), role)
        for host, name, role in (
            ("web-1", "uploads", "sites"),
            ("web-0", "uploads", "sites"),
            ("web-1", "access", "logs"),
            ("web-1", "other", "logs"),
            ("web-1", "default", ""),
        )
    ]
    assert shares == [0.9, None, 0.2, 0.0, 0.5]


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
    if key == "EXCLUDE_CACHES" and (value is True or value == []):
        return
    assert found
    assert all(key in text or ("alias" in text and key == "DATABASES") for _, text in found), found


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        ({"SITE": {}}, "E002", "unknown key 'SITE'"),
        ({"SANDBOX": {"MANAGE": ""}}, "E037", "['SANDBOX'] is not a dict with SCRIPT"),
        ({"SANDBOX": {"SCRIPT": 1}}, "E037", "['SANDBOX'] is not a dict with SCRIPT"),
        ({"SANDBOX": {"SETTINGS": {"DATABASES": {}}}}, "E037", "changes DATABASES"),
        ({"SANDBOX": {"ALLOW": "vault"}}, "E037", "['SANDBOX'] is not a dict with SCRIPT"),
        ({"SANDBOX": {"ALLOW": ["vault", "http://vault:8200/"]}}, "E037", "contains 'http://vault:8200/'"),
        ({"SANDBOX": {"ALLOW": ["vault:82000"]}}, "E037", "contains 'vault:82000'"),
        ({"SANDBOX": {"ALLOW": [8200]}}, "E037", "contains 8200"),
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
        ({"DUMP_JOBS": 4}, "E005", "from 1 to 3"),
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
        ({"EXCLUDE_CACHES": ["other"]}, "E018", "['EXCLUDE_CACHES'] names 'other'"),
        ({"EXCLUDE_CACHES": [1]}, "E018", "['EXCLUDE_CACHES'] is not a list of names"),
        ({"EXCLUDE_CACHES": "no"}, "E003", "is str, not bool or list or tuple"),
        ({"SWAP_WHOLE": ["other"]}, "E014", "neither SITES nor LOGS"),
        ({"HOST": "web 1"}, "E010", "'web 1'"),
        ({"PREFIX": "/igny8"}, "E011", "'/igny8'"),
        ({"RETENTION": {}}, "E015", "it would keep nothing"),
        ({"RETENTION": {"daily": "7"}}, "E015", "'daily' is '7', not of type int"),
        ({"RETENTION": 7}, "E003", "is int, not dict"),
        ({"MAX_AGE": {"logs": 8}}, "E016", "['MAX_AGE']['logs'] is 8"),
        ({"SHRINK": {"logs": 1.5}}, "E028", "['SHRINK']['logs'] is 1.5"),
        ({"SHRINK": {"logs": -0.5}}, "E028", "['SHRINK']['logs'] is -0.5"),
        ({"SHRINK": {"logs": "50%"}}, "E028", "['SHRINK']['logs'] is '50%'"),
        ({"SHRINK": {"logs": True}}, "E028", "['SHRINK']['logs'] is True"),
        ({"SHRINK": {1: 0.5}}, "E028", "['SHRINK'][1]"),
        ({"MAX_AGE": {"logs": timedelta()}}, "E016", "timedelta(days=8)"),
        ({"MONITOR": {"drilled": 30}}, "E026", "['MONITOR']['drilled'] is 30"),
        ({"MONITOR": {"drill": None}}, "E026", "['MONITOR']['drill'] is None"),
        ({"QUEUE": "shared"}, "E061", "['QUEUE'] is 'shared', but TASKS has no such backend"),
        ({"STATUS_CACHE": "shared"}, "E060", "['STATUS_CACHE'] is 'shared', but CACHES has no such cache"),
        ({"STATUS_CACHE": 7}, "E003", "['STATUS_CACHE'] is int, not str"),
        ({"HOSTS": ["web-1"]}, "E003", "is list, not dict"),
        ({"HOSTS": {}}, "E036", "names no host"),
        ({"HOSTS": {"web 1": {}}}, "E036", "'web 1'"),
        ({"HOSTS": {1: {}}}, "E036", "has the name 1"),
        ({"HOSTS": {"web-1": None}}, "E036", "is NoneType, not a dict"),
        ({"HOSTS": {"web-1": {"queues": "a"}}}, "E036", "unknown key 'queues'"),
        ({"HOSTS": {"web-1": {"sites": ["a"]}}}, "E036", "has no 'queue'"),
        ({"HOSTS": {"web-1": {"queue": ""}}}, "E036", "has no 'queue'"),
        ({"HOSTS": {"web-1": {"queue": "a"}}}, "E036", "names no database and no tree"),
        ({"HOSTS": {"web-1": {"queue": "a", "sites": "a"}}}, "E036", "['sites'] is not a list of names"),
        ({"HOSTS": {"web-1": {"queue": "a", "sites": ["up"]}}}, "E063", "['sites'] names 'up'"),
        ({"HOSTS": {"db-1": {"queue": "a", "databases": ["x"]}}}, "E063", "DATABASES'] does not have"),
        (
            {"HOSTS": {name: {"queue": "a", "databases": ["default"]} for name in ("db-1", "db-2")}},
            "E063",
            "['db-2'] and the host 'db-1' have the same queue, 'a'",
        ),
        ({"COPIES": {"a b": {"storage": "x"}}}, "E058", "its name is not made of"),
        ({"COPIES": {"offsite": {"storage": "default", "parts": []}}}, "E058", "parts are empty"),
        ({"COPIES": {"offsite": {"storage": "default", "parts": ["a:b"]}}}, "E058", "parts are not a list"),
        ({"COPIES": {"offsite": {"storage": "default", "parts": "a"}}}, "E058", "parts are not a list"),
        ({"COPIES": {"offsite": "x"}}, "E058", "not a dict with a storage"),
        ({"COPIES": {"offsite": {"storage": "dbbackup"}}}, "E058", "has the backups themselves"),
        ({"COPIES": {"offsite": {"storage": "moon"}}}, "E058", "STORAGES has no 'moon'"),
        ({"COPIES": {"offsite": {"storage": ["moon"]}}}, "E058", "STORAGES has no ['moon']"),
        ({"COPIES": {"offsite": {"storage": "default", "to": 1}}}, "E058", "unknown key 'to'"),
        ({"COPIES": {"offsite": {"storage": "default", "retention": {}}}}, "E058", "keep nothing"),
        ({"COPIES": {"offsite": {"storage": "default", "retention": 3}}}, "E058", "is not a dict"),
        (
            {"COPIES": {"one": {"storage": "default"}, "two": {"storage": "default"}}},
            "E058",
            "names the storage 'default' twice",
        ),
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
        ({"BACKUP_EVERY": {"uploads": 3600}}, "E062", "which is not allowed"),
        ({"BACKUP_EVERY": timedelta()}, "E062", "which is not allowed"),
        ({"YIELD_AFTER": -1}, "E005", "YIELD_AFTER"),
        ({"MAX_UPLOAD_RATE": "2 MB/s"}, "E012", "is not a size"),
        ({"MAX_UPLOAD_RATE": 99_999}, "E005", "99999 bytes per second, which is too slow"),
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


@pytest.mark.parametrize(
    "lock",
    [
        {"mode": "GOVERNANCE"},
        {"days": 30},
        {"mode": "governance", "days": 30},
        {"mode": "GOVERNANCE", "days": 0},
        {"mode": "GOVERNANCE", "days": True},
        {"mode": "GOVERNANCE", "days": "30"},
        {"mode": "GOVERNANCE", "days": 30, "years": 1},
        {"offsite": {"mode": "GOVERNANCE"}},
        {"offsite": None},
    ],
)
def test_object_lock_with_wrong_values_is_a_problem(lock: dict[str, Any]) -> None:
    assert complaints({"OBJECT_LOCK": lock})[0][0] == "E044"


def test_object_lock_is_read_for_one_storage_or_for_each() -> None:
    lock = {"mode": "GOVERNANCE", "days": 30}
    expected = ObjectLock(mode="GOVERNANCE", days=30)
    assert config(OBJECT_LOCK=lock).object_lock == {"dbbackup": expected}
    assert config(OBJECT_LOCK={"offsite": lock}).object_lock == {"offsite": expected}
    assert config().object_lock == {}
