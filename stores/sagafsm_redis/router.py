"""Brings each call to the server that has its partition, and what the servers answer back in order.

What must stay true: a call is sent again only after an answer that says that it was not carried out (the script is not
known, the slot is elsewhere). Calls of one partition that are made one after the other, also by different tasks, are
carried out in that order as long as the connection holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import attrs
from redis.exceptions import (
    AskError,
    AuthenticationError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from .errors import Lost, NotSent, TooFew, refusal, translate
from .keys import Partition
from .node import Meeting, Node
from .options import Options
from .packing import Value, pack
from .scripts import Script
from .topology import Topology

TRIES = 6
PAUSE = 0.05  # seconds before a slot that is just moving is asked for again
ASKING = pack("ASKING")


@attrs.define(eq=False)
class Call:
    """A script with its keys and values, or (without a script) a plain command, in a partition."""

    partition: Partition
    script: Script | None
    keys: Sequence[bytes]
    values: Sequence[Value]
    whole: bool = False
    asked: Node | None = None

    def packed(self) -> bytes:
        """The command as it goes out."""
        if self.script is None:
            return pack(*self.keys, *self.values)
        keys = (*self.partition.shared, *self.keys)
        begin = (b"EVAL", self.script.text) if self.whole else (b"EVALSHA", self.script.digest)
        return pack(*begin, len(keys), *keys, *self.values)


def script(partition: Partition, what: Script, keys: Sequence[bytes] = (), *values: Value) -> Call:
    """A call of a script; the keys of the partition come before its keys."""
    return Call(partition, what, keys, values)


def command(partition: Partition, *words: Value) -> Call:
    """A plain command."""
    return Call(partition, None, (), words)


class Router:
    """Sends calls. ``write``: they change something, so that an answer that is lost leaves the outcome unknown."""

    def __init__(self, options: Options, topology: Topology) -> None:
        self._options = options
        self._topology = topology

    async def one(self, call: Call, *, write: bool) -> Any:
        """The answer to one call."""
        return (await self.all([call], write=write))[0]

    async def all(self, calls: Sequence[Call], *, write: bool, replicated: bool = False) -> list[Any]:
        """The answers to calls of any partitions. ``replicated``: wait for replicas, if the options say so.

        Raises StoreUnavailable, or OutcomeUnknown where part of a write was, or may have been, carried out.
        """
        answers: dict[Call, Any] = {}
        left, waits = list(calls), replicated and self._options.wait > 0
        for attempt in range(TRIES):
            if attempt > 1:
                await asyncio.sleep(PAUSE * attempt)
            try:
                groups = await self._group(left)
            except NotSent as exc:  # the others may have been carried out before
                answers |= dict.fromkeys(left, exc)
                break
            sending = [self._send(node, group, waits=waits) for node, group in groups.items()]
            # One server is the rule, and a task of its own would only cost it time.
            outcomes = [await sending[0]] if len(sending) == 1 else await asyncio.gather(*sending)
            for outcome in outcomes:
                answers |= outcome
            left = [call for call in left if await self._again(call, answers[call])]
            if not left:
                break
        failed = [answer for answer in answers.values() if isinstance(answer, Exception)]
        if failed:
            await self._look_again(failed)
            doubtful = [exc for exc in failed if not isinstance(exc, NotSent) and refusal(exc.__cause__ or exc) is None]
            worst = (doubtful or failed)[0]
            applied = write and len(failed) < len(answers)
            raise translate(worst, self._options.where, write=write, applied=applied) from (worst.__cause__ or worst)
        return [answers[call] for call in calls]

    async def meetings(self, partitions: Sequence[Partition]) -> dict[Partition, Meeting]:
        """On which connection each partition is. Raises StoreUnavailable."""
        try:
            return {partition: (await self._topology.node_of(partition)).meeting for partition in partitions}
        except NotSent as exc:
            raise translate(exc, self._options.where, write=False) from (exc.__cause__ or exc)

    async def _group(self, calls: Sequence[Call]) -> dict[Node, list[Call]]:
        groups: dict[Node, list[Call]] = {}
        for call in calls:
            node = call.asked or await self._topology.node_of(call.partition)
            groups.setdefault(node, []).append(call)
        return groups

    async def _send(self, node: Node, calls: Sequence[Call], *, waits: bool) -> dict[Call, Any]:
        data: list[bytes] = []
        places: list[int] = []
        for call in calls:
            if call.asked is not None:
                data.append(ASKING)
            places.append(len(data))
            data.append(call.packed())
        try:
            if not waits:
                answers = await node.call(data, len(data))
            else:
                answers = await self._send_and_wait(node, calls[0].partition, data)
        except (NotSent, Lost) as exc:
            return dict.fromkeys(calls, exc)
        return {call: answers[place] for call, place in zip(calls, places, strict=True)}

    async def _send_and_wait(self, node: Node, partition: Partition, data: list[bytes]) -> list[Any]:
        """WAIT asks for what this connection wrote last: a batch that turns out to be a duplicate writes nothing, so
        something else is written, after which whatever others wrote before has reached the replicas too.
        """
        options = self._options
        touch = pack("SET", partition.touched, 1)
        wait = pack("WAIT", options.wait, int(options.wait_timeout * 1000))
        answers = await node.call([*data, touch, wait], len(data) + 2, lane="wait", extra=options.wait_timeout)
        *answers, touched, reached = answers
        if isinstance(touched, Exception):  # the slot has just gone elsewhere: nobody knows what was waited for
            few = TooFew(f"replicas cannot be waited for ({type(touched).__name__}: {touched})")
        elif isinstance(reached, int) and reached >= options.wait:
            return answers
        else:
            few = TooFew(f"{reached} of {options.wait} replicas have the write after {options.wait_timeout:g} s")
        return [answer if isinstance(answer, Exception) else few for answer in answers]

    async def _again(self, call: Call, answer: Any) -> bool:
        """Whether the server said that the call has to be made in another way, which is then prepared."""
        call.asked = None
        if isinstance(answer, NoScriptError):
            again, call.whole = not call.whole, True
            return again
        if isinstance(answer, MovedError):
            self._topology.moved(answer.slot_id, (answer.host, answer.port))
            return True
        if isinstance(answer, AskError):
            call.asked = self._topology.node_at((answer.host, answer.port))
            return True
        return isinstance(answer, TryAgainError)

    async def _look_again(self, failed: Sequence[Exception]) -> None:
        """Next time, other servers may be in charge."""
        self._topology.doubt()
        if any(isinstance(exc, (ReadOnlyError, AuthenticationError)) for exc in failed):
            await self._topology.hang_up()


__all__ = ["Call", "ResponseError", "Router", "command", "script"]
