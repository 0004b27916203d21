"""The explanation pages match the code: the packages in the diagram, and the laws that the code cites."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import igny8_backup
from tests.docs.pages import DOCS, ROOT, blocks, page, section
from tests.docs.threats import THREATS

PACKAGE = Path(igny8_backup.__file__).parent


def layers(container: str) -> list[str]:
    """Return the layers of the import contract for the container, uppermost first."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (found,) = [contract["layers"] for contract in contracts if contract.get("containers") == [container]]
    return [str(layer) for layer in found]


def test_architecture_page_draws_the_layers_of_the_import_contract() -> None:
    (diagram,) = blocks(section(page("explanation/architecture"), "## The packages"), "text")
    lines = [set(re.findall(r"\w+", line)) for line in diagram.splitlines()]
    position = -1
    for layer in layers("igny8_backup"):
        names = set(layer.split(" | "))
        rows = [number for number, words in enumerate(lines) if names <= words]
        assert rows and max(rows) > position, f"{layer} is not drawn below the layers above it."
        position = next(number for number in rows if number > position)
    drawn: set[str] = set().union(*lines)
    for layer in layers("igny8_backup.operations"):
        assert set(layer.split(" | ")) <= drawn, layer


def test_architecture_page_names_existing_modules() -> None:
    text = page("explanation/architecture")
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:\.py|/))`", text)
    assert len(named) > 8
    for name in named:
        assert (PACKAGE / name).exists(), name


def test_decisions_explain_every_law_that_the_code_cites() -> None:
    cited = {
        int(number)
        for path in PACKAGE.rglob("*.py")
        for found in re.findall(r"\blaws? (\d+(?:(?:, | and )\d+)*)", path.read_text(encoding="utf-8"))
        for number in re.findall(r"\d+", found)
    }
    pages = sorted((DOCS / "explanation/decisions").glob("*.md"))
    titles = [path.read_text(encoding="utf-8").splitlines()[0] for path in pages]
    explained = {int(number) for title in titles for number in re.findall(r"^# Law (\d+): ", title)}
    assert cited <= explained == set(range(1, 12))


def test_security_model_page_has_a_test_for_each_cannot() -> None:
    listed = re.findall(r"^\* (Cannot\b.*)\.$", page("explanation/security-model"), re.MULTILINE)
    assert listed == list(THREATS)
    for name in {name for names in THREATS.values() for name in names}:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
        assert function in {item.name for item in tree.body if isinstance(item, ast.FunctionDef)}, name
