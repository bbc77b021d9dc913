"""What an attempt failed of: the exception, and where in the application it was raised."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pabal.model.codec import JsonCodec
from pabal.runtime.cause import cause_of


def caught(action: Callable[[], object]) -> BaseException:
    """What `action` raises, with its own frames alone."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever it is
        action()
    error = raised.value
    return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)


def module(name: str, file: str, code: str) -> types.ModuleType:
    """A module that has been imported from `file`."""
    made = types.ModuleType(name)
    exec(compile(code, file, "exec"), made.__dict__)  # noqa: S102 - our own code
    return made


def test_the_place_is_the_innermost_line_of_the_application() -> None:
    """What the standard library does below it is left out: its line says nothing about the handler."""
    app = module("app.handlers", "/srv/release-7/app/handlers.py", "import json\n\ndef save():\n    json.loads('{')\n")
    cause = cause_of(caught(app.save))
    assert "JSONDecodeError at app/handlers.py:4 save" == cause


def test_the_place_is_the_same_wherever_the_application_lies() -> None:
    """Two releases in two folders have one cause."""
    code = "\n\ndef save():\n    raise ValueError('no')\n"
    causes = {
        cause_of(caught(module("app.handlers", f"/srv/{release}/app/handlers.py", code).save)) for release in (1, 2)
    }
    assert {"ValueError at app/handlers.py:4 save"} == causes


@pytest.mark.parametrize(
    ("name", "file", "place"),
    [
        ("app", "/srv/app/__init__.py", "app/__init__.py:2 save"),
        ("app.jobs", "/srv/app/jobs/__init__.py", "app/jobs/__init__.py:2 save"),
        ("__main__", "/srv/worker.py", "worker.py:2 save"),
        ("__main__", "<stdin>", "<stdin>:2 save"),
    ],
    ids=["package", "inner_package", "script", "typed"],
)
def test_packages_and_scripts(name: str, file: str, place: str) -> None:
    """The place begins where the module is imported from."""
    made = module(name, file, "def save():\n    raise ValueError\n")
    assert f"ValueError at {place}" == cause_of(caught(made.save))


def test_an_installed_application_is_told_from_its_libraries() -> None:
    """Where nothing lies outside of the libraries, the package of the handler is the application."""
    site = Path(json.__file__).parents[1] / "site-packages"
    library = module("library.core", f"{site}/library/core.py", "def work():\n    raise ValueError\n")
    sys.modules["library_core_of_the_test"] = library
    try:
        code = "import library_core_of_the_test as core\n\ndef save():\n    core.work()\n"
        cause = cause_of(caught(module("app.handlers", f"{site}/app/handlers.py", code).save))
    finally:
        del sys.modules["library_core_of_the_test"]
    assert "ValueError at app/handlers.py:4 save" == cause


def test_what_pabal_raises_by_itself_has_no_place() -> None:
    """A body that cannot be decoded is nobody's line."""
    assert "CodecError" == cause_of(caught(partial(JsonCodec().decode, b"{", None, int)))


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    """Its class is all there is to say."""
    assert "ValueError" == cause_of(ValueError("no"))
