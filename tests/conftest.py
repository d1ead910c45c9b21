"""What holds for every test: long runs are asked for, and examples are judged by what they show, not by their time.

A disk that another test keeps busy is no fault of an example that hypothesis found; what must be quick has a test of
its own.
"""

import pytest
from hypothesis import settings

settings.register_profile("without a deadline", settings.default, deadline=None)
settings.load_profile("without a deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="also run the long forms of checks that have a short one")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: run with --soak"))
