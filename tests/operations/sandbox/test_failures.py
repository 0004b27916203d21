"""A failure is described by class, file and line of the project's code, with values masked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from igny8_backup.operations.sandbox.failures import describe_failure
from igny8_backup.operations.sandbox.places import place_of


def failure(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("did not fail")


def raising(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "shown", "hidden"),
    [
        (ValueError("redis://user:s3cret@cache/0 is down"), "ValueError: redis://", "s3cret"),
        (RuntimeError("order of jane@tenant.example"), "RuntimeError: order of", "tenant"),
        (RuntimeError("password=s3cret was refused"), "was refused", "s3cret"),
        (KeyError("jane"), "KeyError", "jane"),
        (ValueError("cannot parse 'jane'"), "cannot parse", "jane"),
        (ImportError("No module named 'shop.search'"), "'shop.search'", "\n"),
        (SystemExit(3), "ended the process with exit status 3", "SystemExit"),
    ],
)
def test_failure_is_described_without_values(error: BaseException, shown: str, hidden: str) -> None:
    text = describe_failure(failure(raising(error)))
    assert shown in text and hidden not in text
    assert f"({__file__}, line" in text


def test_place_is_in_the_code_of_the_project_not_in_the_library() -> None:
    found = place_of(failure(lambda: json.loads("{")))
    assert found.startswith(f"{__file__}, line")


def test_place_of_an_installed_project_is_in_its_package() -> None:
    """A project may be installed like its libraries; then its packages are named."""

    def module(name: str, source: str, **names: Any) -> Any:
        exec(compile(source, f"/srv/site-packages/{name}/__init__.py", "exec"), names)
        return names["call"]

    library = module("library", "def call(): 1 / 0\n")
    error = failure(module("shop", "\n\ndef call(): library()\n", library=library))
    assert place_of(error, {"shop"}) == "/srv/site-packages/shop/__init__.py, line 3"
