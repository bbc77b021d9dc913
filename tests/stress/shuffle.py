"""A pytest plugin: tests in a random order that a seed repeats, and model tests that play other games each time."""

from __future__ import annotations

import random

import pytest
from hypothesis import Phase, settings

FEWER = 5
"""A model test plays so many times fewer games in each of many rounds than in one run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--order", default="0", help="the seed of the order of tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    order = config.getoption("--order")
    assert isinstance(order, str)
    random.Random(order).shuffle(items)  # noqa: S311 - an order, no secret
    # In one run they play the same games each time; what those are here follows from --hypothesis-seed.
    for case in {item.cls for item in items if isinstance(item, pytest.Function) and item.cls is not None}:
        if isinstance(played := getattr(case, "settings", None), settings):
            games = max(1, played.max_examples // FEWER)
            # Making a game that fails shorter would take longer than a test may, and the failure would not be told.
            case.settings = settings(played, derandomize=False, max_examples=games, phases=[Phase.generate])
