"""What holds for every test: how Hypothesis searches, real servers, and that the code blocks of the pages are tests."""

import os

import hypothesis
import pytest

from tests.docs.pages import PAGES

# No deadline per example: the machines that run this are shared, and a slow one is no bug.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")

pytest.register_assert_rewrite("sagafsm.testing.conformance", "sagafsm.testing.stateful")  # their asserts show values

pytest_plugins = ["tests.servers.plugin"]

pytest_collect_file = PAGES.pytest()
