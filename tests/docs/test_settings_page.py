"""The pages docs/reference/settings*.md name every key that the package reads, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings
from django.test import override_settings

import igny8_backup
from igny8_backup.conf import get_config, problems
from tests.docs.pages import code_cells, section, settings_pages

PACKAGE = Path(igny8_backup.__file__).parent


def documented(heading: str) -> set[str]:
    return {cell[0] for cell in code_cells(section(settings_pages(), heading).split("\n### ")[0])}


def known(keys: set[str]) -> set[str]:
    """Return those of the keys that the settings do not call unknown."""
    with override_settings(IGNY8_BACKUP=dict.fromkeys(keys)):
        unknown = {
            re.findall(r"'(\w+)'", item.message)[-1] for item in problems() if item.id.endswith("E002")
        }
    return keys - unknown


def test_settings_page_lists_only_existing_keys() -> None:
    keys = documented("## Keys")
    assert len(keys) >= 13
    assert known(keys | {"NOT_A_KEY"}) == keys


def test_settings_page_lists_every_key() -> None:
    source = "".join(path.read_text() for path in (PACKAGE / "conf").rglob("*.py"))
    read = set(re.findall(r'(?:take|read)\w*\(\s*(?:reader, )?"([A-Z_]+)"', source))
    assert known(read) == read
    assert read == documented("## Keys")


def test_settings_pages_have_a_section_for_each_key() -> None:
    text = settings_pages()
    assert {re.sub("[#` ]", "", line) for line in text.splitlines() if line.startswith("## `")} == documented(
        "## Keys"
    )


def test_settings_page_lists_every_key_of_encryption() -> None:
    keys = documented("## `ENCRYPTION`")
    with override_settings(IGNY8_BACKUP={"ENCRYPTION": {**dict.fromkeys(keys), "NOT_A_KEY": 1}}):
        (unknown,) = [item for item in problems() if item.id.endswith("E002")]
    assert "'NOT_A_KEY'" in unknown.message
    assert set(re.findall(r"[A-Z_]{2,}", unknown.hint)) == keys == {"RECIPIENTS", "IDENTITY_FILE"}


def test_settings_page_shows_the_defaults() -> None:
    table = {
        row.split("|")[1].strip(" `"): row.split("|")[3].strip(" `")
        for row in section(settings_pages(), "## Keys").splitlines()
        if row.startswith("| `")
    }
    with override_settings(IGNY8_BACKUP={}):
        config = get_config()
    assert table["PREFIX"] == f'"{config.prefix}"'
    assert table["COMPRESSION_LEVEL"] == str(config.compression_level)
    assert table["FILES_COMPRESSION_LEVEL"] == str(config.files_compression_level)
    assert config.jobs is None and "cores" in table["JOBS"]
    assert config.dump_jobs is None and "cores" in table["DUMP_JOBS"]
    assert table["STALL_SECONDS"] == str(config.stall_seconds)
    assert table["RETRY_SECONDS"] == str(config.retry_seconds)
    assert config.state_dir == Path(settings.BASE_DIR) / table["STATE_DIR"].split("`")[0]
    assert not config.sites and not config.logs and not config.exclude_table_data and not config.recipients


def test_settings_page_shows_the_ranges() -> None:
    text = section(settings_pages(), "## Keys")
    for key in ("COMPRESSION_LEVEL", "FILES_COMPRESSION_LEVEL", "JOBS", "DUMP_JOBS", "STALL_SECONDS"):
        with override_settings(IGNY8_BACKUP={key: 0}):
            (problem,) = [item for item in problems() if item.id.endswith("E005")]
        low, high = re.findall(r"\d+", problem.hint)
        assert f"| `{key}` | `int`, {low} to {high} |" in text
