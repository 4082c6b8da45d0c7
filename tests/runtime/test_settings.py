"""Settings: where they come from, and that a bad one is named."""

import asyncio
import logging
import math

import pytest

from sagafsm import Orchestrator, Settings, SettingsError, open_store
from sagafsm.core.secrets import redact
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Durability
from tests.runtime.world import Around


def test_the_environment_beats_the_file_and_the_file_beats_the_default(tmp_path):
    file = tmp_path / "sagafsm.toml"
    file.write_text('namespace = "shop"\nretry_max_attempts = 7\nretry_initial_interval = 0\n')
    settings = Settings.from_env({"SAGAFSM_RETRY_MAX_ATTEMPTS": "5", "SAGAFSM_STORE": "memory://", "HOME": "/"}, file)
    assert (settings.store, settings.namespace, settings.env) == ("memory://", "shop", "prod")
    assert (settings.retry.max_attempts, settings.retry.initial_interval) == (5, 0)


@pytest.mark.parametrize(("text", "meant"), [("true", True), ("1", True), ("NO", False), ("off", False)])
def test_a_switch_can_be_said_in_several_ways(text, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env({"SAGAFSM_REQUIRE_DURABLE": text}).require_durable is meant


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"retry_max_attempts": "3"}, "retry_max_attempts: must be a whole number above 0, got '3'"),
        ({"retry_max_attempts": 2.5}, "retry_max_attempts: must be a whole number above 0, got 2.5"),
        ({"concurrency": 0}, "concurrency: must be a whole number above 0, got 0"),
        ({"threads": True}, "threads: must be a whole number above 0, got True"),
        ({"retry_initial_interval": -1}, "retry_initial_interval: must be a number from 0 up, got -1"),
        ({"retry_backoff_coefficient": 0.5}, "retry_backoff_coefficient: must be a number from 1 up, got 0.5"),
        ({"retry_maximum_interval": math.inf}, "retry_maximum_interval: must be a number above 0, got inf"),
        ({"namespace": "a b"}, "namespace: 1 to 100 of"),
        ({"namespace": 3}, "namespace: 1 to 100 of"),
        ({"lease": 0}, "lease: must be a number above 0, got 0"),
        ({"drain_timeout": -1}, "drain_timeout: must be a number from 0 up, got -1"),
        ({"require_durable": "yes"}, "require_durable: must be true or false, got 'yes'"),
        ({"store": "sagas.db"}, "store: must be a URL such as 'sqlite:///sagas.db', got 'sagas.db'"),
        ({"store": None}, "store: must be a URL such as 'sqlite:///sagas.db', got 'NoneType'"),
        ({"store_options": "a=1"}, "store_options: must be a table of names and values, got str"),
        ({"store_options": {"": 1}}, "store_options: '' cannot be the name of an option"),
        ({"store_options": {"pool": None}}, "store_options.pool: must be text, a number, true or false, got None"),
    ],
)
def test_a_bad_value_is_refused_at_once_by_name(values, says):
    with pytest.raises(SettingsError, match=f"setting {says}"):
        Settings(**values)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"SAGAFSM_RETRY_MAX_ATTEMPTS": "many"}, "setting retry_max_attempts: 'many' is no int"),
        ({"SAGAFSM_RETRY_INITIAL_INTERVAL": "-1"}, "setting retry_initial_interval: must be a number from 0 up"),
        ({"SAGAFSM_RETRIES": "3"}, "SAGAFSM_RETRIES is no setting; known: compensation_max_attempts, "),
        ({"SAGAFSM_POLL_INTERVALL": "3"}, "SAGAFSM_POLL_INTERVALL is no setting; did you mean 'poll_interval'?"),
        ({"SAGAFSM_REQUIRE_DURABLE": "perhaps"}, r"setting require_durable: 'perhaps' is no bool \(SAGAFSM_REQUIRE"),
        ({"SAGAFSM_STORE_OPTIONS": "pool"}, "setting store_options: write SAGAFSM_STORE_OPTIONS as in a URL"),
        ({"SAGAFSM_STORE": "sagas.db"}, "setting store: must be a URL"),
    ],
)
def test_a_bad_variable_is_named(environ, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no file there
    with pytest.raises(SettingsError, match=says):
        Settings.from_env(environ)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('store = "postgresql://user:secret@host/db"', "'store' holds a password; secrets come from the environment"),
        ("retries = 3", "setting 'retries' in the file is unknown"),
        ("retry_max_attempts = 2.5", "setting retry_max_attempts: 2.5 is no int"),
        ("namespace =", "cannot be read"),
        ("require_durable = 1", "setting require_durable: 1 is no bool"),
        ("concurrency = true", "setting concurrency: True is no int"),
        ("store_options = 'pool=1'", "setting store_options: must be a table of names and values, got str"),
    ],
)
def test_a_bad_file_is_named(text, says, tmp_path):
    file = tmp_path / "sagafsm.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.from_env({}, file)
    assert "secret@" not in str(caught.value)


def test_a_password_is_never_shown():
    assert "hunter2" not in repr(Settings(store="postgresql://ann:hunter2@host/db"))


def test_what_settings_may_be_said_as_arguments_too_is_said_by_the_nearest():
    settings = Settings(lease=60, poll_interval=5, drain_timeout=0)
    orchestrator = Orchestrator("memory://", sagas=[], settings=settings, poll_interval=1.0)
    assert (orchestrator._lease, orchestrator._poll_interval, orchestrator._drain_timeout) == (60, 1.0, 0)
    plain = Orchestrator("memory://", sagas=[])
    assert (plain._lease, plain._poll_interval, plain._drain_timeout) == (30.0, 1.0, 10.0)


# --- options of the store ---


def test_store_options_are_added_to_the_url_which_wins():
    settings = Settings(store_options={"pool_size": 10, "timeout": 2.5, "ssl": True})
    assert settings.url_with_options("postgresql://host/db?timeout=9&x=") == (
        "postgresql://host/db?timeout=9&x=&pool_size=10&ssl=true"
    )
    assert Settings().url_with_options("sqlite:///a b.db?x=1") == "sqlite:///a b.db?x=1"


def test_store_options_come_from_the_file_and_the_environment_key_by_key(tmp_path):
    file = tmp_path / "sagafsm.toml"
    file.write_text("[store_options]\ntimeout = 7\njournal_mode = 'DELETE'\n")
    settings = Settings.from_env({"SAGAFSM_STORE_OPTIONS": "timeout=9"}, file)
    assert settings.store_options == {"timeout": "9", "journal_mode": "DELETE"}


async def test_an_orchestrator_opens_its_store_with_the_options(tmp_path):
    settings = Settings(store_options={"journal_mode": "DELETE"})
    orchestrator = Orchestrator(f"sqlite:///{tmp_path}/sagas.db", sagas=[], settings=settings)
    assert orchestrator.store.options.journal_mode == "DELETE"
    with pytest.raises(SettingsError, match="unknown option 'pool'"):
        Orchestrator(f"sqlite:///{tmp_path}/sagas.db", sagas=[], settings=Settings(store_options={"pool": 3}))


# --- durability ---


class Synced(MemoryStore):
    async def check(self):
        return Durability(synced=True, description="as if it were on disk")


async def test_a_store_that_could_lose_what_it_acknowledged_is_refused_where_that_matters(world):
    strict = Settings(require_durable=True)
    with pytest.raises(SettingsError, match=r"setting require_durable: .* a memory store forgets everything"):
        async with world.orchestrator(settings=strict):
            pass
    assert not await world.store.workers()
    async with world.orchestrator(store=Synced(), settings=strict) as orchestrator:
        assert orchestrator.settings.require_durable


# --- secrets ---

SECRET = "hun/ter@2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgresql://ann:{SECRET}@host/db", "postgresql://***@host/db"),
        (f"cannot reach redis://:{SECRET}@host:6379/0: refused", "cannot reach redis://***@host:6379/0: refused"),
        (f"mongodb://ann:{SECRET}@one:1,two:2/db?a=1", "mongodb://***@one:1,two:2/db?a=1"),
        (f"postgresql://host/db?user=ann&password={SECRET}&x=1", "postgresql://host/db?user=ann&password=***&x=1"),
        (f"host=db user=ann sslpassword='{SECRET} and more' port=1", "host=db user=ann sslpassword=*** port=1"),
        (f"{{'host': 'db', 'auth_token': '{SECRET}', 'n': 1}}", "{'host': 'db', 'auth_token': ***, 'n': 1}"),
        ("postgresql://ann@host/db?pool_size=3", "postgresql://ann@host/db?pool_size=3"),
        ("password authentication failed for user ann", "password authentication failed for user ann"),
    ],
)
def test_a_secret_is_hidden_wherever_it_stands(text, shown):
    assert redact(text) == shown


@pytest.mark.parametrize(
    "settings",
    [
        Settings(store=f"postgresql://ann:{SECRET}@host/db"),
        Settings(store=f"postgresql://host/db?password={SECRET}"),
        Settings(store_options={"password": SECRET}),
        Settings(store_options={"dsn": f"postgresql://ann:{SECRET}@host"}),
    ],
)
def test_no_setting_shows_a_secret(settings):
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.shown())


@pytest.mark.parametrize(
    "text",
    [
        f'store = "postgresql://ann:{SECRET}@host/db"',
        f'store = "postgresql://host/db?password={SECRET}"',
        f'[store_options]\npassword = "{SECRET}"',
        f'[store_options]\nreplica = "redis://:{SECRET}@host"',
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(text, tmp_path):
    file = tmp_path / "sagafsm.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match="secrets come from the environment") as caught:
        Settings.from_env({}, file)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"nosuch://ann:{SECRET}@host/db",
        f"sqlite://ann:{SECRET}@host/db",
        f"memory://ann:{SECRET}@host?x=1",
        f"://ann:{SECRET}@host",
    ],
)
def test_a_url_that_is_refused_is_not_repeated_with_its_secret(url):
    with pytest.raises(SettingsError) as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


async def test_a_secret_in_an_error_of_a_driver_is_not_logged(world, caplog):
    class Refusing(Around):
        async def claim(self, *arguments, **keywords):
            try:
                raise ConnectionError(f"could not log in to postgresql://ann:{SECRET}@host/db")
            except ConnectionError as exc:
                raise RuntimeError(f"of the driver: password={SECRET}") from exc

    async with world.orchestrator(store=Refusing(world.store)):
        await asyncio.sleep(5)
    shown = caplog.text + "".join(logging.Formatter().format(record) for record in caplog.records)
    assert "could not log in to postgresql://***@host/db" in shown
    assert SECRET not in shown


def test_the_log_keeps_the_arguments_of_what_holds_no_secret(caplog):
    Orchestrator("memory://", sagas=[])
    logging.getLogger("sagafsm").warning("saga %s", "s-1")
    assert caplog.records[-1].args == ("s-1",)
