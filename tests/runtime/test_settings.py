"""Settings: where they come from, and that a bad one is named."""

import asyncio
import logging
import math
import traceback

import pytest

from sagafsm import Orchestrator, Settings, SettingsError, open_store
from sagafsm.core.secrets import is_cut_off, redact
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
        ({"SAGAFSM_RETRY_MAX_ATTEMPTS": "many"}, "setting retry_max_attempts: 'many' is no whole number"),
        ({"SAGAFSM_RETRY_INITIAL_INTERVAL": "-1"}, "setting retry_initial_interval: must be a number from 0 up"),
        ({"SAGAFSM_RETRIES": "3"}, "SAGAFSM_RETRIES is no setting; known: compensation_max_attempts, "),
        ({"SAGAFSM_POLL_INTERVALL": "3"}, "SAGAFSM_POLL_INTERVALL is no setting; did you mean 'poll_interval'?"),
        (
            {"SAGAFSM_REQUIRE_DURABLE": "perhaps"},
            r"setting require_durable: 'perhaps' is no true or false \(SAGAFSM_REQUIRE",
        ),
        ({"SAGAFSM_STORE_OPTIONS": "pool"}, "setting store_options: write SAGAFSM_STORE_OPTIONS as in a URL"),
        ({"SAGAFSM_STORE": "sagas.db"}, "setting store: must be a URL"),
        ({"SAGAFSM_STORE": ""}, "setting store: must be a URL"),
        ({"SAGAFSM_NAMESPACE": "a b"}, "setting namespace: 1 to 100 of"),
        ({"SAGAFSM_STORE_OPTIONS": "=3"}, "setting store_options: '' cannot be the name of an option"),
        ({"SAGAFSM_CONCURRENCY": "2.5"}, "setting concurrency: '2.5' is no whole number"),
        ({"SAGAFSM_LEASE": "nan"}, "setting lease: must be a number above 0, got nan"),
    ],
)
def test_a_bad_variable_is_named(environ, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no file there
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.from_env(environ)
    assert next(iter(environ)) in str(caught.value)  # where it came from


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('store = "postgresql://user:secret@host/db"', "'store' holds a password; secrets come from the environment"),
        ("retries = 3", "setting 'retries' in the file is unknown"),
        ("retry_max_attempts = 2.5", "setting retry_max_attempts: 2.5 is no whole number"),
        ("namespace =", "cannot be read"),
        ("require_durable = 1", "setting require_durable: 1 is no true or false"),
        ("concurrency = true", "setting concurrency: True is no whole number"),
        ("store_options = 'pool=1'", "setting store_options: must be a table of names and values, got str"),
        (
            "[store_options]\npool = [1]",
            r"setting store_options.pool: must be text, a number, true or false, got \[1\]",
        ),
        ("[store]\nurl = 1", "setting store: "),
        ("lease = 0", "setting lease: must be a number above 0, got 0.0"),
        ("lease = 1\nlease = 2", "cannot be read"),
        ("namespace = '\udcff'", "cannot be read"),
    ],
)
def test_a_bad_file_is_named(text, says, tmp_path):
    file = tmp_path / "sagafsm.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.from_env({}, file)
    assert str(file) in str(caught.value)  # where it came from
    assert "secret@" not in str(caught.value)


def test_a_file_that_was_named_has_to_be_there(tmp_path):
    with pytest.raises(SettingsError, match=r"nosuch\.toml cannot be read: "):
        Settings.from_env({}, tmp_path / "nosuch.toml")


def test_the_environments_of_tests_and_of_applications_are_not_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environ = {"SAGAFSM_TEST_POSTGRESQL_URL": "x", "SAGAFSM_SECRET_BANK": "y", "sagafsm_lease": "z"}
    assert Settings.from_env(environ) == Settings()


def test_an_argument_beats_the_environment_and_that_the_file_and_that_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sagafsm.toml").write_text("lease = 40\npoll_interval = 4\ndrain_timeout = 44\n")
    settings = Settings.from_env({"SAGAFSM_LEASE": "50", "SAGAFSM_POLL_INTERVAL": "5"})
    orchestrator = Orchestrator("memory://", sagas=[], settings=settings, lease=60)
    assert (orchestrator._lease, orchestrator._poll_interval, orchestrator._drain_timeout) == (60, 5, 44)
    assert orchestrator.settings.hang_timeout == 60.0


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
    with pytest.raises(SettingsError, match="unknown option 'pool'") as caught:
        Orchestrator(f"sqlite:///{tmp_path}/sagas.db", sagas=[], settings=Settings(store_options={"pool": 3}))
    assert caught.value.__notes__ == [
        "Of these options, store_options (sagafsm.toml, SAGAFSM_STORE_OPTIONS) may add: pool."
    ]


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
        f"postgresql://ann:{SECRET}@host/db",
        f"postgresql://ann:{SECRET}@host/db?nosuch=1",
        "postgresql://ann:hun%2Fter%402@host:port/db",
        "postgresql://ann:hun%2Fter%402@host/db?nosuch=1",
        f"redis://:{SECRET}@host/0",
        "redis://ann:hun%2Fter%402@host/zero",
        "redis://ann:hun%2Fter%402@host:port/0",
        "redis+cluster://ann:hun?ter#2@one:1,two:2",
        f"mongodb://ann:{SECRET}@host/db",
        "mongodb://ann:hun%2Fter%402@host/admin",
    ],
)
def test_a_url_that_is_refused_is_not_repeated_with_its_secret(url):
    """Nor is a piece of it: parsers take what stands before a slash in a password for a port."""
    with pytest.raises(SettingsError) as caught:
        open_store(url)
    whole = "".join(traceback.format_exception(caught.value))
    error: BaseException | None = caught.value
    while error is not None:  # also what would not be shown as it stands
        whole += repr(error)
        error = error.__cause__ or error.__context__
    for piece in ("hun", "ter@2", "ter%402"):
        assert piece not in whole.replace(f'"{url}"', "")


@pytest.mark.parametrize(
    ("url", "cut_off"),
    [
        ("postgresql://ann:p/w@host/db", True),
        ("postgresql://ann:p?w@host/db", True),
        ("postgresql://ann:1/w@host/db", True),
        ("postgresql://ann:p@w/x@host/db", True),
        ("redis://:p#w@host", True),
        ("postgresql://ann:p@w@host:5432/db?x=1", False),
        ("postgresql://host:5432/db?user=a@b", False),
        ("redis://[::1]:6379/0?prefix=a@b", False),
        ("mongodb://one:1,two:2/db?x=a@b", False),
        ("sqlite:///C:/a@b.db", False),
        ("sqlite:////data/a:b@c.db", False),
        ("memory://", False),
    ],
)
def test_a_password_that_is_not_escaped_is_told_from_a_path(url, cut_off):
    assert is_cut_off(url) is cut_off


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
