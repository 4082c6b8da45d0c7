"""Settings: where they come from, and that a bad one is named."""

import math

import pytest

from sagafsm import Settings, SettingsError


def test_the_environment_beats_the_file_and_the_file_beats_the_default(tmp_path):
    file = tmp_path / "sagafsm.toml"
    file.write_text('namespace = "shop"\nretry_max_attempts = 7\nretry_initial_interval = 0\n')
    settings = Settings.from_env({"SAGAFSM_RETRY_MAX_ATTEMPTS": "5", "SAGAFSM_STORE": "memory://", "HOME": "/"}, file)
    assert (settings.store, settings.namespace, settings.env) == ("memory://", "shop", "prod")
    assert (settings.retry.max_attempts, settings.retry.initial_interval) == (5, 0)


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
