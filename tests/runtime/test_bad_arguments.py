"""Arguments that cannot be: each is refused by our own error, which says what fits, and never reaches a store."""

import pytest

from sagafsm import DefinitionError, InvalidInput, Orchestrator, SagaDefinition, Sleep

NAP = SagaDefinition(name="nap", steps=[Sleep("nap", 60)])


@pytest.mark.parametrize("sagas", [NAP, "nap", int, 3])
def test_sagas_that_are_no_list(sagas):
    with pytest.raises(DefinitionError, match=r"sagas= takes a list, such as sagas=\[OrderFulfillment\]; got"):
        Orchestrator("memory://", sagas=sagas)


def test_a_drain_timeout_below_zero():
    with pytest.raises(InvalidInput, match="drain_timeout is in seconds and not negative, got -1"):
        Orchestrator("memory://", sagas=[NAP], drain_timeout=-1)


@pytest.mark.parametrize("tags", [["country"], "country", 3, []])
async def test_tags_that_are_no_mapping(world, tags):
    async with world.orchestrator(NAP) as orchestrator:
        with pytest.raises(InvalidInput, match=r"tags are names with values, such as \{'country': 'CH'\}; got"):
            await orchestrator.start(NAP, tags=tags)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"saga_type": NAP}, "saga_type is a text"),
        ({"correlation_id": 3}, "correlation_id is a text, got 3"),
        ({"stuck": "yes"}, "stuck is True, False or None, got 'yes'"),
        ({"suspended": 1}, "suspended is True, False or None, got 1"),
        ({"tags": ["country"]}, "tags are names with values"),
        ({"older_than": "1h"}, "older_than is a number from 0 up, got '1h'"),
        ({"older_than": float("nan")}, "older_than is a number from 0 up, got nan"),
        ({"limit": -1}, "limit is a number from 0 up, got -1"),
        ({"limit": 1.5}, "limit is a number from 0 up, got 1.5"),
    ],
)
async def test_filters_that_fit_nothing(world, where, says):
    async with world.orchestrator(NAP) as orchestrator:
        with pytest.raises(InvalidInput, match=says):
            orchestrator.find(**where)


@pytest.mark.parametrize("verb", ["run", "execute", "wait"])
async def test_a_timeout_names_the_saga_and_says_that_it_goes_on(world, verb):
    async with world.orchestrator(NAP) as orchestrator:
        await orchestrator.start(NAP, saga_id="s-1")
        waiting = (
            orchestrator.run(NAP, saga_id="s-1", timeout=0.5)
            if verb == "run"
            else getattr(orchestrator, verb)("s-1", timeout=0.5)
        )
        with pytest.raises(TimeoutError, match=r"saga s-1 is not there yet after 0\.5 s; it was not stopped"):
            await waiting
