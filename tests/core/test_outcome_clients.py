"""The table of client errors against the real client libraries: every named class exists, and says what the table says.

The second half breaks real connections on loopback, because how a library wraps an error is no part of its contract.
"""

import asyncio
import http.client
import importlib
import os
import smtplib
import socket
import urllib.error
import urllib.request
import warnings
from contextlib import closing
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from sagafsm.core.outcome import classify
from sagafsm.core.outcome_rules import maybe_sent, not_sent, not_sent_by_itself
from sagafsm.core.outcome_table import LIBRARIES

from .faulty_server import FAULTS, faulty_server, refusing_url

PATIENCE = 0.2  # seconds that a client waits for a server that hangs
EXTENSION_MODULES = {"cimpl": "confluent_kafka.cimpl"}  # a module that does not say where it can be imported from


def load(module: str) -> ModuleType:
    """A client library, or a skipped test; the checks that count install them all: `pip install sagafsm[test]`."""
    try:
        with warnings.catch_warnings(action="ignore"):  # what a library is warned about is not ours to mend
            return importlib.import_module(EXTENSION_MODULES.get(module, module))
    except ImportError as exc:
        if os.environ.get("CI"):
            pytest.fail(f"{module} cannot be imported: {exc}; install the extra `test`")
        pytest.skip(f"{module} cannot be imported: {exc}")


def find(name: str) -> type[BaseException]:
    """The class that the table calls by this name."""
    module, _, qualname = name.rpartition(".")
    return getattr(load(module), qualname)


ENTRIES = [(name, rule) for rules in LIBRARIES.values() for name, rule in rules.items()]
SAID = {maybe_sent: "open", not_sent: "failed", not_sent_by_itself: "failed"}


@pytest.mark.parametrize(("name", "rule"), [pytest.param(*entry, id=entry[0]) for entry in ENTRIES])
def test_every_named_class_exists_and_says_what_the_table_says(name, rule):
    cls = find(name)
    assert f"{cls.__module__}.{cls.__qualname__}" == name, "the table must use the name that the class has itself"
    if rule in SAID:
        assert classify(cls.__new__(cls)) == SAID[rule]


# --- what the rules read ---


def wrapped(outer: BaseException, cause: BaseException) -> BaseException:
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(404, "failed"), (429, "failed"), (501, "failed"), (408, "open"), (500, "open"), (303, "open")],
)
def test_answers_of_http_servers(status, outcome):
    httpx, requests, aiohttp = load("httpx"), load("requests"), load("aiohttp")
    request = httpx.Request("POST", "http://bank/charge")
    assert classify(httpx.HTTPStatusError("", request=request, response=httpx.Response(status))) == outcome
    response = requests.Response()
    response.status_code = status
    assert classify(requests.HTTPError(response=response)) == outcome
    assert classify(aiohttp.ClientResponseError(None, (), status=status)) == outcome
    nats = load("nats.js.errors")
    assert classify(nats.APIError(code=status)) == outcome
    errors = load("botocore.exceptions")
    assert classify(errors.ClientError({"ResponseMetadata": {"HTTPStatusCode": status}}, "PutItem")) == outcome


def test_an_answer_that_is_no_json_is_open_though_its_status_is_good():
    aiohttp, requests = load("aiohttp"), load("requests")
    assert classify(aiohttp.ContentTypeError(None, (), status=200)) == "open"
    response = requests.Response()
    response.status_code, response._content = 200, b"<html>"
    with pytest.raises(requests.JSONDecodeError) as raised:
        response.json()
    assert classify(raised.value) == "open"


def test_requests_that_a_client_repeated_by_itself_are_open():
    """The first try of a conditional write was carried out, its reply was lost, and the second try was refused."""
    errors = load("botocore.exceptions")
    refused = {"HTTPStatusCode": 400, "RetryAttempts": 0}
    assert classify(errors.ClientError({"ResponseMetadata": refused}, "PutItem")) == "failed"
    assert classify(errors.ClientError({"ResponseMetadata": {**refused, "RetryAttempts": 1}}, "PutItem")) == "open"
    running = {"ResponseMetadata": refused, "Error": {"Code": "TransactionInProgressException"}}
    assert classify(errors.ClientError(running, "TransactWriteItems")) == "open"


GRPC_REFUSED = {
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
}


def test_grpc_codes():
    grpc, aio = load("grpc"), load("grpc.aio")
    for code in grpc.StatusCode:
        error = aio.AioRpcError(code, aio.Metadata(), aio.Metadata())
        assert classify(error) == ("failed" if code.name in GRPC_REFUSED else "open"), code
    assert classify(grpc.RpcError()) == "open"


def test_requests_errors_say_what_they_wrap():
    requests, urllib3 = load("requests"), load("urllib3")
    refused = urllib3.exceptions.NewConnectionError(SimpleNamespace(host="bank"), "refused")
    expired = urllib3.exceptions.ReadTimeoutError(None, "/", "timed out")
    forged = urllib3.exceptions.SSLError(find("ssl.SSLCertVerificationError")("self-signed"))
    no_proxy = urllib3.exceptions.ProxyError("no proxy", refused)
    cases = [(refused, "failed"), (forged, "failed"), (no_proxy, "failed"), (expired, "open"), (None, "open")]
    for reason, outcome in cases:
        inner = urllib3.exceptions.MaxRetryError(None, "/", reason)
        assert classify(inner) == outcome
        for cls in (requests.ConnectionError, requests.exceptions.SSLError, requests.exceptions.ProxyError):
            assert classify(cls(inner, request=None)) == outcome
    assert classify(requests.ConnectionError()) == "open"


def test_postgresql_errors():
    psycopg, asyncpg = load("psycopg"), load("asyncpg")
    assert classify(psycopg.OperationalError("consuming input failed: server closed the connection")) == "open"
    assert classify(psycopg.OperationalError("connection failed: Connection refused")) == "failed"
    lost = ("ConnectionException", "ConnectionFailure", "AdminShutdown", "CrashShutdown", "StatementCompletionUnknown")
    for name in (*lost, "TransactionResolutionUnknown", "ConnectionDoesNotExist"):
        assert classify(getattr(psycopg.errors, name)()) == "open", name
    for name in ("CannotConnectNow", "QueryCanceled", "LockNotAvailable", "SerializationFailure", "DeadlockDetected"):
        assert classify(getattr(psycopg.errors, name)()) == "failed", name
    assert classify(psycopg.errors.UniqueViolation()) == "failed"
    assert classify(asyncpg.exceptions.UniqueViolationError("taken")) == "failed"
    assert classify(asyncpg.exceptions.TransactionResolutionUnknownError("?")) == "open"


def test_sqlalchemy_says_what_its_driver_said():
    exc, psycopg, asyncpg = load("sqlalchemy.exc"), load("psycopg"), load("asyncpg")

    def error(orig: BaseException, invalidated: bool) -> BaseException:
        return wrapped(exc.OperationalError("INSERT", {}, orig, connection_invalidated=invalidated), orig)

    assert classify(error(Exception("gone"), invalidated=True)) == "open"
    assert classify(error(Exception("no such table"), invalidated=False)) == "failed"
    assert classify(error(psycopg.OperationalError("the connection is lost"), invalidated=False)) == "open"
    assert classify(error(psycopg.errors.UniqueViolation(), invalidated=False)) == "failed"
    adapted = wrapped(Exception("adapted"), asyncpg.exceptions.ConnectionDoesNotExistError("lost"))
    assert classify(error(adapted, invalidated=False)) == "open"
    assert classify(error(wrapped(Exception("adapted"), ConnectionRefusedError()), invalidated=True)) == "failed"


def test_mongodb_errors():
    errors = load("pymongo.errors")

    def labelled(error, label: str):
        error._add_error_label(label)
        return error

    assert classify(errors.NetworkTimeout("timed out")) == "open"
    assert classify(errors.ServerSelectionTimeoutError("no server")) == "failed"
    assert classify(errors.WTimeoutError("not replicated yet", 64)) == "open"
    assert classify(errors.ExecutionTimeout("too slow", 50)) == "open"
    assert classify(errors.OperationFailure("no such command", 59)) == "failed"
    assert classify(errors.DuplicateKeyError("taken", 11000)) == "failed"
    assert classify(errors.OperationFailure("shutting down", 91)) == "open"
    assert classify(errors.NotPrimaryError("not primary", {"ok": 0, "code": 10107})) == "failed"
    assert classify(errors.NotPrimaryError("stepped down", {"ok": 0, "code": 189})) == "open"
    assert classify(errors.NotPrimaryError("stepped down", {"ok": 1, "writeConcernError": {"code": 10107}})) == "open"
    # In a transaction the labels say more than the class.
    commit, abort = "UnknownTransactionCommitResult", "TransientTransactionError"
    assert classify(labelled(errors.ServerSelectionTimeoutError("no server"), commit)) == "open"
    assert classify(labelled(errors.OperationFailure("interrupted", 59), commit)) == "open"
    assert classify(labelled(errors.AutoReconnect("lost"), abort)) == "failed"


def test_kafka_errors():
    aiokafka, kafka, confluent = load("aiokafka.errors"), load("kafka.errors"), load("confluent_kafka")
    for errors in (aiokafka, kafka):
        for name in (
            "NotLeaderForPartitionError",
            "NotEnoughReplicasError",
            "RequestTimedOutError",
            "KafkaTimeoutError",
        ):
            assert classify(getattr(errors, name)()) == "open", name
        for name in ("MessageSizeTooLargeError", "TopicAuthorizationFailedError", "InvalidTopicError"):
            assert classify(getattr(errors, name)()) == "failed", name
    for name in ("_MSG_TIMED_OUT", "_TRANSPORT", "_PURGE_INFLIGHT", "REQUEST_TIMED_OUT", "NETWORK_EXCEPTION"):
        error = confluent.KafkaError(getattr(confluent.KafkaError, name))
        assert classify(confluent.KafkaException(error)) == "open", name
    for name in ("MSG_SIZE_TOO_LARGE", "TOPIC_AUTHORIZATION_FAILED", "_QUEUE_FULL", "_PURGE_QUEUE"):
        error = confluent.KafkaError(getattr(confluent.KafkaError, name))
        assert classify(confluent.KafkaException(error)) == "failed", name


def test_the_codes_of_librdkafka_that_the_rule_names_exist():
    from sagafsm.core.outcome_rules import _LIBRDKAFKA_LOST

    confluent = load("confluent_kafka")
    codes = {name for name in vars(confluent.KafkaError) if name.lstrip("_").isupper()}
    names = {confluent.KafkaError(getattr(confluent.KafkaError, code)).name() for code in codes}
    assert names >= _LIBRDKAFKA_LOST


# --- HTTP, really ---


def with_httpx(url: str) -> None:
    with load("httpx").Client(timeout=PATIENCE, trust_env=False) as client:
        client.post(url, content=b"{}").raise_for_status()


def with_requests(url: str) -> None:
    with load("requests").Session() as session:
        session.trust_env = False
        session.post(url, data=b"{}", timeout=PATIENCE).raise_for_status()


def with_urllib3(url: str) -> None:
    with load("urllib3").PoolManager() as pool:
        pool.request("POST", url, body=b"{}", timeout=PATIENCE)


def with_urllib(url: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, b"{}", PATIENCE) as response:
            response.read()
    except urllib.error.HTTPError as exc:
        exc.close()
        raise


def with_http_client(url: str) -> None:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)) as connection:
        connection.request("POST", "/charge", b"{}")
        with connection.getresponse() as response:
            response.read()


def with_aiohttp(url: str) -> None:
    aiohttp = load("aiohttp")

    async def post() -> None:
        timeout = aiohttp.ClientTimeout(sock_read=PATIENCE)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.post(url, data=b"{}") as response:
            response.raise_for_status()
            await response.read()

    asyncio.run(post())


def with_botocore(url: str, tries: int = 1) -> None:
    botocore = load("botocore.session")
    session = botocore.Session()
    session.set_credentials("key", "secret")
    config = load("botocore.config").Config(
        retries={"total_max_attempts": tries, "mode": "standard"}, read_timeout=PATIENCE, connect_timeout=PATIENCE
    )
    endpoint = url.removesuffix("/charge")
    client = session.create_client("dynamodb", region_name="eu-west-1", endpoint_url=endpoint, config=config)
    with closing(client):
        client.put_item(TableName="charges", Item={"id": {"S": "1"}})


CLIENTS = [with_httpx, with_requests, with_urllib3, with_urllib, with_http_client, with_aiohttp]
every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__.removeprefix("with_"))


def error_of(client, url) -> Any:
    try:
        client(url)
    except Exception as exc:
        return exc
    pytest.fail("no error")


@every_client
@pytest.mark.parametrize("fault", FAULTS)
def test_a_connection_that_breaks_after_the_request_was_read_is_open(client, fault):
    with faulty_server(fault) as server:
        error = error_of(client, server.url)
    assert server.requests == 1, "the request did not arrive: nothing was shown"
    assert classify(error) == "open", repr(error)


@every_client
def test_a_refused_connection_is_definite(client):
    error = error_of(client, refusing_url())
    assert classify(error) == "failed", repr(error)


@every_client
def test_an_unresolved_name_is_definite(client, monkeypatch):
    def unknown_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown_name)  # no test asks a name server
    error = error_of(client, "http://nowhere.invalid/charge")
    assert classify(error) == "failed", repr(error)


@pytest.mark.parametrize("client", [with_httpx, with_requests, with_urllib, with_aiohttp, with_botocore])
@pytest.mark.parametrize(
    ("status", "outcome"),
    [("503 Service Unavailable", "open"), ("500 Internal Server Error", "open"), ("422 Unprocessable", "failed")],
)
def test_an_answer_over_the_wire(client, status, outcome):
    with faulty_server(status) as server:
        error = error_of(client, server.url)
    assert classify(error) == outcome, repr(error)


@pytest.mark.parametrize("fault", ["hang", "reset", "close"])
def test_botocore_broken_after_the_request_was_read(fault):
    with faulty_server(fault) as server:
        error = error_of(with_botocore, server.url)
    assert (server.requests, classify(error)) == (1, "open"), repr(error)


def test_a_refused_connection_of_botocore_may_be_its_second_try():
    """Botocore repeats the request by itself: the error is "could not connect", yet the server has read a request."""
    with faulty_server("close", once=True) as server:
        error = error_of(lambda url: with_botocore(url, tries=2), server.url)
    assert type(error) is find("botocore.exceptions.EndpointConnectionError")
    assert (server.requests, classify(error)) == (1, "open")


# --- other protocols, really ---


def test_a_refused_connection_of_redis_may_be_its_second_try():
    """Redis repeats the command by itself: the connection is refused, yet the server has read an INCR."""
    redis = load("redis")
    once_more = load("redis.retry").Retry(load("redis.backoff").NoBackoff(), 1)
    with faulty_server("close", once=True) as server:
        client = redis.Redis(port=server.port, host="127.0.0.1", retry=once_more, protocol=2, driver_info=None)
        with closing(client):
            error = error_of(client.incr, "stock")
    assert isinstance(error.__context__, ConnectionRefusedError)
    assert (server.requests, classify(error)) == (1, "open")


def test_redis_times_out():
    redis = load("redis")
    no_retry = load("redis.retry").Retry(load("redis.backoff").NoBackoff(), 0)
    with faulty_server("hang") as server:
        client = redis.Redis(
            port=server.port, host="127.0.0.1", retry=no_retry, protocol=2, driver_info=None, socket_timeout=PATIENCE
        )
        with closing(client):
            error = error_of(client.incr, "stock")
    assert type(error) is find("redis.exceptions.TimeoutError")
    assert classify(error) == "open"


def test_grpc_cannot_tell_a_refused_connection():
    grpc = load("grpc")
    with grpc.insecure_channel(urlsplit(refusing_url()).netloc) as channel:
        error = error_of(lambda method: channel.unary_unary(method)(b"", timeout=2), "/bank/charge")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert classify(error) == "open"


def test_refused_by_databases():
    psycopg, sqlalchemy, pymongo, asyncpg = load("psycopg"), load("sqlalchemy"), load("pymongo"), load("asyncpg")
    address = urlsplit(refusing_url()).netloc
    host, port = address.split(":")
    refused = error_of(psycopg.connect, f"host={host} port={port} dbname=x user=x")
    assert classify(refused) == "failed", repr(refused)
    refused = error_of(psycopg.connect, f"host={host},{host} port={port} dbname=x user=x")
    assert classify(refused) == "failed", repr(refused)
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://x@{address}/x")
    refused = error_of(lambda _: engine.connect(), address)
    assert isinstance(refused, sqlalchemy.exc.OperationalError)
    assert classify(refused) == "failed", repr(refused)
    refused = error_of(lambda dsn: asyncio.run(asyncpg.connect(dsn)), f"postgresql://x@{address}/x?sslmode=disable")
    assert classify(refused) == "failed", repr(refused)
    with closing(pymongo.MongoClient(f"mongodb://{address}", serverSelectionTimeoutMS=50)) as client:
        refused = error_of(client.shop.orders.insert_one, {"order": 1})
    assert classify(refused) == "failed", repr(refused)


def test_a_database_connection_that_breaks():
    asyncpg = load("asyncpg")
    with faulty_server("close") as server:
        dsn = f"postgresql://x@127.0.0.1:{server.port}/x?sslmode=disable"
        error = error_of(lambda dsn: asyncio.run(asyncpg.connect(dsn)), dsn)
    assert classify(error) == "open", repr(error)


def test_refused_by_brokers(caplog):
    pika, aio_pika, nats = load("pika"), load("aio_pika"), load("nats")
    address = urlsplit(refusing_url()).netloc
    host, port = address.split(":")
    refused = error_of(pika.BlockingConnection, pika.ConnectionParameters(host, int(port)))
    assert classify(refused) == "failed", repr(refused)
    refused = error_of(lambda url: asyncio.run(aio_pika.connect(url)), f"amqp://{address}/")
    assert classify(refused) == "failed", repr(refused)

    async def connect_to_nats(url: str) -> None:
        async def quiet(_: Exception) -> None: ...

        await nats.connect(
            url, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0.01, error_cb=quiet
        )

    refused = error_of(lambda url: asyncio.run(connect_to_nats(url)), f"nats://{address}")
    assert classify(refused) == "failed", repr(refused)


def test_a_broker_connection_that_breaks(caplog):
    aio_pika = load("aio_pika")
    with faulty_server("close") as server:
        error = error_of(lambda url: asyncio.run(aio_pika.connect(url)), f"amqp://127.0.0.1:{server.port}/")
    assert classify(error) == "open", repr(error)


def test_a_mail_server_that_hangs_up():
    with faulty_server("close") as server, smtplib.SMTP() as mail:
        mail.timeout = PATIENCE

        def send(_: str) -> None:
            mail.sock = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
            mail.ehlo("shop")

        error = error_of(send, "")
    assert type(error) is smtplib.SMTPServerDisconnected
    assert classify(error) == "open"


def test_streams_that_break():
    anyio, websockets = load("anyio"), load("websockets.exceptions")

    async def read_an_answer(port: int) -> None:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"charge")
            await stream.receive()

    with faulty_server("close") as server:
        error = error_of(lambda _: anyio.run(read_an_answer, server.port), "")
    assert type(error) is anyio.EndOfStream
    assert (server.requests, classify(error)) == (1, "open")
    refused = error_of(lambda url: anyio.run(read_an_answer, urlsplit(url).port), refusing_url())
    assert classify(refused) == "failed", repr(refused)
    assert classify(wrapped(websockets.InvalidMessage("no answer"), EOFError())) == "failed"
    assert classify(websockets.ConnectionClosedError(None, None)) == "open"
