"""The HTTP server that the warehouse, the bank and the carrier have in common.

What must stay true: ``POST /<operation>`` with an ``Idempotency-Key`` header and a JSON object as its body, one call
of the book for each; faults are injected here, around the book, which knows nothing of them. It listens on the
loopback only, says where in one line on standard output, and ends on SIGTERM or with its parent, after the calls
under way (those that hang as well) have ended.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .book import Answer, Book, Call
from .faults import HANGS, Fault, FaultPlan
from .lifeline import when_parent_ends

ANNOUNCEMENT = "listening on "


class Participant(ThreadingHTTPServer):
    """One participant: a book behind HTTP, and a plan of what goes wrong on the way to it."""

    daemon_threads = True
    block_on_close = False
    # The default backlog of 5 drops connections when many sagas start at once; each then waits a second.
    request_queue_size = 256

    def __init__(self, book: Book, plan: FaultPlan) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.book = book
        self.plan = plan
        self._under_way = 0
        self._changed = threading.Condition()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, call: Call, attempt: int) -> Answer | None:
        """Answer a call, as well as its fault allows; None: close the connection without an answer."""
        with self._changed:
            self._under_way += 1
        try:
            return self._answer(call, attempt)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _answer(self, call: Call, attempt: int) -> Answer | None:
        fault = self.plan.draw(call.order_id, call.operation, attempt)
        if fault in (Fault.HANG_BEFORE, Fault.HANG_ONLY):
            time.sleep(self.plan.hang_seconds)
        if fault in (Fault.REFUSE, Fault.HANG_ONLY):
            self.book.log(call, attempt, fault.value, "not done")
            return Answer(503, {"error": "out of order"}) if fault is Fault.REFUSE else None
        answer = self.book.receive(call)
        self.book.log(call, attempt, fault.value, answer.verdict)
        if fault is Fault.HANG_AFTER:
            time.sleep(self.plan.hang_seconds)
        elif fault is Fault.SLOW:
            time.sleep(self.plan.slow_seconds)
        return None if fault is Fault.LOSE_REPLY or fault in HANGS else answer

    def drain(self, timeout: float) -> None:
        """Wait until no call is under way, at most ``timeout`` seconds, then close the book."""
        with self._changed:
            self._changed.wait_for(lambda: self._under_way == 0, timeout)
        self.server_close()
        self.book.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about callers who hung up: here they do that on purpose."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Requests(BaseHTTPRequestHandler):
    """The requests that come in on one connection."""

    protocol_version = "HTTP/1.1"
    # Head and body in one packet: apart, the second waits for the caller's delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    @property
    def participant(self) -> Participant:
        """Whom the requests are for."""
        assert isinstance(self.server, Participant)  # noqa: S101 (it is the only one that makes these)
        return self.server

    def do_POST(self) -> None:
        """Answer one call."""
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        operation, key = self.path.lstrip("/"), self.headers.get("Idempotency-Key", "")
        try:
            body = json.loads(content)
            call = Call(operation=operation, key=key, order_id=body["order_id"], body=body)
            attempt = int(self.headers.get("Attempt", 1))
        except (ValueError, KeyError, TypeError):
            self._send(Answer(400, {"error": "the body must be a JSON object with an order_id, Attempt a number"}))
            return
        if not key:
            self._send(Answer(400, {"error": "the header Idempotency-Key is missing"}))
        elif not self.participant.book.knows(operation):
            self._send(Answer(404, {"error": f"there is no operation {operation!r}"}))
        else:
            self._send(self.participant.answer(call, attempt))

    def _send(self, answer: Answer | None) -> None:
        if answer is None:
            self.close_connection = True
            return
        content = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is that of the base class)
        """Write no access log: the book has its own."""


def main(kind: type[Book]) -> None:
    """Run one participant until SIGTERM or until the parent process has ended."""
    parser = argparse.ArgumentParser(description=kind.__doc__)
    parser.add_argument("--book", type=Path, required=True, help="the SQLite file to create")
    parser.add_argument("--seed", type=int, default=1, help="which calls go wrong")
    parser.add_argument("--fail-rate", type=float, default=0.0, help="the share of calls that go wrong")
    options = parser.parse_args()
    participant = Participant(kind(options.book), FaultPlan.spread(options.seed, options.fail_rate))

    def stop(*_: object) -> None:
        # shutdown() waits for serve_forever(), which runs in the very thread that a signal interrupts.
        threading.Thread(target=participant.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    when_parent_ends(stop)
    sys.stdout.write(f"{ANNOUNCEMENT}{participant.url}\n")
    sys.stdout.flush()
    participant.serve_forever(poll_interval=0.05)
    participant.drain(timeout=5.0)
