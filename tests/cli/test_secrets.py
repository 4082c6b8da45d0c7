"""A password that is planted in the URL of a store shows in nothing that any verb prints, whatever goes wrong."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from sagafsm import Settings, StoreUnavailable, open_store
from sagafsm.cli.app import app
from sagafsm.runtime.logs import log_to_stderr
from tests.cli.conftest import SHOP

SECRET = "hun7ter2"
WHO = ("--actor", "ann", "--reason", "because")
VERBS = {
    "abort": ("abort", "x", "--reason", "because"),
    "archive": ("archive", "--older-than", "1d", "--to", "archive"),
    "check-compat": ("check-compat", SHOP),
    "complete-step": ("complete-step", "x", "step"),
    "copy": ("copy", "{store}", "sqlite:///copy.db"),
    "demo": ("demo", "--orders", "1"),
    "diagram": ("diagram", "--saga", "x"),
    "doctor": ("doctor",),
    "export-test": ("export-test", "x", "--app", f"{SHOP}:Order"),
    "fail-step": ("fail-step", "x", "step", "--error", "text"),
    "history": ("history", "x"),
    "ls": ("ls",),
    "migrate": ("migrate",),
    "purge": ("purge", "--older-than", "1d"),
    "resume": ("resume", "x"),
    "retry": ("retry", "x", *WHO),
    "run": ("run", f"{SHOP}:Order", "-i", "inputs.jsonl"),
    "show": ("show", "x"),
    "signal": ("signal", "x", "name"),
    "skip": ("skip", "x", "step", *WHO),
    "stats": ("stats",),
    "stuck": ("stuck",),
    "suspend": ("suspend", "x", *WHO),
    "worker": ("worker", SHOP, "--log-level", "debug"),
}
NO_STORE = {"check", "schema"}
NOBODY = "127.0.0.1:1"
STORES = {
    "sqlite": f"sqlite://ann:{SECRET}@host/sagas.db",
    "memory": f"memory://ann:{SECRET}@host/x",
    "postgresql": f"postgresql://ann:{SECRET}@{NOBODY}/db?timeout=1",
    "postgresql-option": f"postgresql://ann:{SECRET}@{NOBODY}/db?nosuch=1",
    "postgresql-cut-off": f"postgresql://ann:{SECRET}/more@{NOBODY}/db",
    "postgresql-parameter": f"postgresql://{NOBODY}/db?password={SECRET}",
    "redis": f"redis://ann:{SECRET}@{NOBODY}/0?timeout=1",
    "redis-option": f"redis://:{SECRET}@{NOBODY}/0?nosuch=1",
    "redis-cluster": f"redis+cluster://ann:{SECRET}@{NOBODY}?timeout=1",
    "rediss": f"rediss://ann:{SECRET}@{NOBODY}/zero",
    "mongodb": f"mongodb://ann:{SECRET}@{NOBODY}/db?serverSelectionTimeoutMS=20&connectTimeoutMS=20",
    "mongodb-option": f"mongodb://ann:{SECRET}@{NOBODY}/db?nosuch=1",
    "mongodb-port": f"mongodb://ann:{SECRET}@127.0.0.1:port/db",
    "unknown": f"oracle://ann:{SECRET}@{NOBODY}/db",
    "no-url": f"://ann:{SECRET}@host",
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inputs.jsonl").write_text('{"id": "o-1"}\n')
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers = []  # as in a process of its own: the command sets up what is logged
    yield
    root.handlers = before
    root.setLevel(level)


def test_no_verb_was_forgotten():
    assert VERBS.keys() | NO_STORE == get_command(app).commands.keys()  # type: ignore[attr-defined]


def said(*words: str) -> str:
    """All that a verb printed, its log included."""
    logging.getLogger().handlers = []
    result = CliRunner().invoke(app, words)
    assert result.exit_code in (1, 2, 6), f"{words}: {result.exit_code}\n{result.output}"
    assert words[-1] == "--debug" or "Traceback" not in result.output
    assert "Usage:" not in result.output, f"{words}: it never came as far as the store"
    return result.output + result.stderr


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", STORES)
def test_a_password_is_shown_by_no_verb(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that gives up leaves the socket of its last try to the collector."""
    store = STORES[name]
    for words in VERBS.values():
        shown = said(*(word.format(store=store) for word in words), *(() if words[0] == "copy" else ("--store", store)))
        assert SECRET not in shown
        assert shown  # something is said
    monkeypatch.setenv("SAGAFSM_STORE", store)
    for words in (("ls",), ("doctor",), ("doctor", "--json"), ("worker", SHOP)):
        assert SECRET not in said(*words)
        assert SECRET not in said(*words, "--debug")


@pytest.mark.parametrize("name", ["sqlite", "postgresql", "redis", "mongodb"])
def test_nor_is_one_that_is_an_option(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAFSM_STORE", f"{name}://{'' if name == 'sqlite' else NOBODY}/sagas.db")
    monkeypatch.setenv("SAGAFSM_STORE_OPTIONS", f"password={SECRET}&serverSelectionTimeoutMS=20")
    for words in (("ls",), ("doctor", "--json"), ("worker", SHOP)):
        assert SECRET not in said(*words)
        assert SECRET not in said(*words, "--debug")


def test_doctor_shows_where_a_password_is_and_not_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAFSM_STORE", STORES["postgresql"])
    assert f"postgresql://***@{NOBODY}/db" in said("doctor")


def test_what_drivers_log_themselves_is_redacted_too(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().handlers = []
    log_to_stderr("DEBUG", "%(name)s %(message)s")
    try:
        raise ConnectionError(f"no answer from redis://:{SECRET}@host")
    except ConnectionError:
        logging.getLogger("some.driver").debug("password=%s", SECRET, exc_info=True)
    shown = capsys.readouterr().err
    assert SECRET not in shown
    assert "some.driver password=***" in shown
    assert "redis://***@host" in shown


@pytest.mark.parametrize("name", ["postgresql", "redis", "redis-cluster", "mongodb"])
async def test_no_error_and_no_repr_of_a_store_holds_one(name: str) -> None:
    """For whoever shows errors himself: neither what is raised nor what it was raised from, shown or not."""
    store = open_store(STORES[name])
    with pytest.raises(StoreUnavailable) as caught:
        await store.setup()
    await store.close()
    shown = [repr(store), repr(getattr(store, "options", "")), repr(Settings(store=STORES[name]))]
    left: list[BaseException] = [caught.value]
    while left:
        error = left.pop()
        shown += [repr(error), str(error), *getattr(error, "__notes__", ())]
        left += [one for one in (error.__cause__, error.__context__) if one is not None]
        left += error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    assert len(shown) > 5
    assert SECRET not in "\n".join(shown)
