"""What holds for every test: programs that a test needs are there or were left out in so many words."""

import signal

import pytest
from hypothesis import settings

from tests.servers.packages import PROGRAMS, left_out

# A busy machine is slow now and then, which is no failure of the code.
settings.register_profile("pabal", deadline=None)
settings.load_profile("pabal")

# A shell lets what it starts in the background ignore Ctrl-C, and every program that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            if name in left_out():
                pytest.skip(f"WITHOUT leaves {name} out")
            if not PROGRAMS[name].find():
                pytest.fail(PROGRAMS[name].advice, pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if names := left_out():
        terminalreporter.write_line(f"left out, as WITHOUT says: {', '.join(sorted(names))}", yellow=True)
