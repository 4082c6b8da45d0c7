"""The list of planted bugs."""

import pytest

PLANTED = []


def planted(*caught_by):
    """Register a store with a bug, and the tests of the kit that must fail on it."""

    def register(store):
        PLANTED.extend(pytest.param(store, name, id=f"{store.__name__}-{name}") for name in caught_by)
        return store

    return register
