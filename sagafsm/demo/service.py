"""The participants, as the saga calls them: over HTTP, with a key, and with no knowledge of what goes wrong there.

What must stay true: only what certainly did not happen is raised as an error of our own. A lost reply or a timeout
keeps the client library's error, and the engine knows that such an outcome is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from sagafsm import Rejected, StepContext

OUT_OF_ORDER = 503
"""Participants answer with it before they have done anything."""


class OutOfOrder(Exception):
    """The participant refused the call without having done anything: trying again is safe and may help."""


class Service:
    """One participant."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._client: httpx.AsyncClient | None = None

    def connect(self, url: str) -> None:
        """Say where it listens. To be called in the event loop that the calls are made from."""
        # The engine cuts a call off at its step's timeout; the client's own is a belt to those braces.
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=10.0,
            # httpx looks at every connection for every request: with more of them it only gets slower.
            limits=httpx.Limits(max_connections=16),
            trust_env=False,  # no proxy stands between us and the loopback
        )

    async def close(self) -> None:
        """Give back the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def call(self, operation: str, order_id: str, ctx: StepContext, **body: object) -> Mapping[str, Any]:
        """Ask for an operation. Raises Rejected for a refusal, OutOfOrder, or what httpx raises."""
        if self._client is None:
            raise RuntimeError(f"the {self.name} is not connected: call connect() first")
        response = await self._client.post(
            f"/{operation}",
            json={"order_id": order_id, **body},
            headers={"Idempotency-Key": ctx.idempotency_key, "Attempt": str(ctx.attempt)},
        )
        if response.status_code == OUT_OF_ORDER:
            raise OutOfOrder(f"the {self.name} is out of order")
        answer: dict[str, Any] = response.json()
        if response.is_client_error:
            raise Rejected(f"the {self.name} refuses: {answer['error']}")
        response.raise_for_status()
        return answer


warehouse = Service("warehouse")
bank = Service("bank")
carrier = Service("carrier")
SERVICES = (warehouse, bank, carrier)
