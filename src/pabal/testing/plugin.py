"""Under pytest: a clock, the explorer, and a test for each promise of the conformance kit.

Say ``pytest_plugins = ["pabal.testing.plugin"]`` in the root's conftest.py, and tests have the fixtures `virtual_clock`
and `explore`, and pytest the option ``--pabal-plan``, which shows a run again that `explore` has found.

The conformance kit takes four lines, and not even that one:

    from pabal.testing import UrlSubject
    from pabal.testing.plugin import Conformance

    class TestFiles(Conformance):
        @pytest.fixture
        def subject(self, tmp_path):
            return UrlSubject(f"files://{tmp_path}/box", virtual=True)

It needs pytest and nothing else, no asyncio plugin either. It is no entry point, so that a run without any of it pays
nothing for it, but registers itself with the first promise that is run. Where pytest-xdist spreads the run, the process
that reports runs none itself, so that the line in conftest.py is needed there.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable
from textwrap import fill
from typing import Any

import pytest

from pabal.model.clock import VirtualClock
from pabal.testing.broken import PromiseBroken
from pabal.testing.exploring import Explorer, ScenarioBroken
from pabal.testing.promise import PROMISES, Promise
from pabal.testing.subject import Subject, declared

_NOT_ASKED = "not asked"
_PLAN = "--pabal-plan"


def pytest_addoption(parser: pytest.Parser) -> None:
    """A plan to run instead of exploring."""
    parser.getgroup("pabal").addoption(
        _PLAN, metavar="PLAN", help="run what `explore` explores once, with this plan, as in 'crash@3 freeze@9'"
    )


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that stands still until the test turns it."""
    return VirtualClock()


@pytest.fixture
def explore(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``explore(make, scenario, promise, ...)`` lets everything go wrong once that an `Explorer` of these can.

    With ``examples=100`` it draws a hundred plans with several faults as well, by ``seed=``. A plain ``def`` test calls
    it. Where a promise is broken, the test fails with the report, and the command that shows the run again.
    """

    def explore(*made_of: Any, examples: int = 0, seed: int = 0, **options: Any) -> None:
        __tracebackhide__ = True
        explorer = Explorer(*made_of, **options)
        plan: str | None = request.config.getoption(_PLAN, None)
        try:
            if plan is not None:
                explorer.run(plan)
                return
            explorer.each()
            if examples:
                explorer.search(examples, seed=seed)
        except ScenarioBroken as broken:
            again = f'pytest "{request.node.nodeid}" {_PLAN} "{broken.plan}"'
            request.node.add_report_section("call", "plan", f"{broken.plan or 'nothing'}; to see it again:\n{again}")
            raise broken.with_traceback(None) from broken.__cause__

    return explore


class Conformance:
    """Give a subclass a fixture ``subject``, and it has a test for each promise, called by the promise's name.

    The fixture returns a new `Subject` for each test, on a store that nobody else uses. What the subject's transport
    declares decides which promises are asked of it; the others are listed with their reasons when the run ends.
    """

    def __init_subclass__(cls) -> None:
        """Add the promises that there are by now; what the class has under a promise's name stays."""
        super().__init_subclass__()
        for each in PROMISES.values():
            if not hasattr(cls, each.name):
                setattr(cls, each.name, _test(each))

    @pytest.fixture(autouse=True)
    def _explained(self, request: pytest.FixtureRequest) -> None:
        plugins = request.config.pluginmanager
        if not plugins.has_plugin(__name__):
            plugins.register(sys.modules[__name__], __name__)


def _test(promise: Promise) -> Callable[..., None]:
    def test(self: Conformance, subject: Subject, request: pytest.FixtureRequest) -> None:  # noqa: ARG001 - a method
        __tracebackhide__ = True
        # A loop of our own: others' asyncio plugins may have set one, and find it unchanged.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            unmet = promise.unmet(runner.run(declared(subject)))
            broken = runner.run(_broken(promise, subject)) if unmet is None else None
        if broken is not None:
            raise broken
        if unmet is not None:
            request.node.user_properties.append(("promise", _NOT_ASKED))
            pytest.skip(unmet)

    test.__name__ = promise.name
    test.__qualname__ = f"{Conformance.__qualname__}.{promise.name}"
    test.__doc__ = promise.text
    test.__test__ = True  # type: ignore[attr-defined]  # so pytest takes it for a test, whatever its name
    return test


async def _broken(promise: Promise, subject: Subject) -> PromiseBroken | None:
    """The promise's being broken, without what lies between pytest and its check."""
    try:
        await promise.check(subject)
    except PromiseBroken as broken:
        return broken.with_traceback(None)
    return None


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """Count a promise that is not asked apart from the tests that are skipped."""
    if report.skipped and dict(getattr(report, "user_properties", ())).get("promise") == _NOT_ASKED:
        return _NOT_ASKED, "-", _NOT_ASKED.upper()
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was not asked, each with its reason."""
    left_out: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for report in terminalreporter.stats.get(_NOT_ASKED, ()):
        subject, _, name = report.nodeid.rpartition("::")
        left_out[subject][_reason(report)].append(name)
    if left_out:
        terminalreporter.section("promises that are not asked")
    for subject, reasons in left_out.items():
        terminalreporter.write_line(subject)
        for reason, names in reasons.items():
            line = f"{', '.join(names)}: {reason}"
            terminalreporter.write_line(fill(line, 120, initial_indent="  ", subsequent_indent="    "))


def _reason(report: Any) -> str:
    _, _, reason = report.longrepr
    return str(reason).removeprefix("Skipped: ")
