"""The world beside a saga: participants who may or may not do what they are asked, and who never lie.

What a participant reports is true when it says it: "succeeded" is only said of what took effect, "rejected" only of
what did not and never will under that key. Everything else is open: an effect may land at once, much later, or never,
whatever the caller was told. Participants recognise a key (unless the step is ``idempotent=False``) and honour a
barrier: what was undone before it was done is never done afterwards.
"""

import attrs

from sagafsm.core.commands import Call, OutcomeKind, ReplyArrived, Role
from sagafsm.core.definition import SagaDefinition
from sagafsm.core.step import StepKind
from sagafsm.testing.checker import Effect

K = OutcomeKind


@attrs.define
class Book:
    """What the participant of one step knows of one key."""

    applied: int = 0
    undone: int = 0
    barred: bool = False  # undone before it was done: an action that comes now is refused
    rejected: bool = False  # "will not": said once, kept until a person asks again


@attrs.define(eq=False)
class Job:
    """Work that was handed over and ends with a message, or a call whose effect is still under way."""

    step: str
    via: str
    undo: bool
    attempt: int
    replies: bool


class World:
    def __init__(self, definition: SagaDefinition) -> None:
        self.definition = definition
        self.books: dict[tuple[str, str], Book] = {}
        self.effects: list[Effect] = []
        self.jobs: list[Job] = []
        self.messages: list[ReplyArrived] = []
        self.children: dict[str, str] = {}  # running, completed, undoing, failed
        self.stuck_children: set[str] = set()

    def book(self, step: str, via: str) -> Book:
        return self.books.setdefault((step, via), Book())

    # --- effects ---

    def land(self, step: str, via: str, *, undo: bool) -> None:
        """A request reaches its participant."""
        book = self.book(step, via)
        if undo:
            if book.applied > book.undone:
                book.undone += 1
                self.effects.append(Effect(step=step, via=via, undo=True))
            book.barred = True
        elif not (book.barred or book.rejected) and (not book.applied or not self.definition.steps[step].idempotent):
            book.applied += 1
            self.effects.append(Effect(step=step, via=via))

    def holds(self, step: str, via: str) -> bool:
        return self.book(step, via).applied > 0

    def forget_requests(self, step: str, via: str) -> None:
        """Whatever is under way for this key will not land any more."""
        self.jobs = [job for job in self.jobs if (job.step, job.via, job.undo) != (step, via, False)]

    def ask_again(self, step: str) -> None:
        """A person asks again: what was refused may be possible now, and old answers are not passed on."""
        for via in ("action", "fallback"):
            self.book(step, via).rejected = False
        self.messages = [message for message in self.messages if message.step != step]

    # --- calls ---

    def truthful(self, call: Call, kind: OutcomeKind) -> OutcomeKind:
        """The outcome that may honestly be reported, nearest to the one wanted."""
        if call.role is not Role.FORWARD:
            return kind
        book = self.book(call.step, call.via)
        if book.rejected and kind is K.SUCCEEDED:
            return K.REJECTED
        if book.applied and kind is K.REJECTED:
            return K.SUCCEEDED
        return kind

    def end(self, call: Call, kind: OutcomeKind, landing: str, *, hands_over: bool) -> None:
        """A call ends with this outcome. ``landing``, where it leaves that open: now, later, never."""
        undo = call.role is Role.BACKWARD
        if kind is K.SUCCEEDED:
            landing = "later" if hands_over else "now"
        elif kind is not K.UNKNOWN:
            landing = "never"
        if kind is K.REJECTED and not undo:
            self.book(call.step, call.via).rejected = True
            self.forget_requests(call.step, call.via)
        if landing == "now":
            self.land(call.step, call.via, undo=undo)
        elif landing == "later":
            self.jobs.append(Job(call.step, call.via, undo, call.attempt, replies=hands_over))

    def probe(self, call: Call) -> bool:
        """Whether it happened. A certain no is only given of what cannot land any more."""
        if self.holds(call.step, call.via):
            return True
        self.forget_requests(call.step, call.via)
        return False

    def finish(self, job: Job, kind: OutcomeKind, message_id: str | None, *, name_attempt: bool) -> None:
        """Work that was handed over comes to its end, and a message says so."""
        self.jobs.remove(job)
        book = self.book(job.step, job.via)
        if not job.undo:
            if book.rejected:
                kind = K.REJECTED
            elif book.applied:
                kind = K.SUCCEEDED
            elif book.barred and kind is K.SUCCEEDED:
                kind = K.UNKNOWN
        if kind is K.SUCCEEDED or not job.replies:
            self.land(job.step, job.via, undo=job.undo)
        elif kind is K.REJECTED and not job.undo:
            book.rejected = True
            self.forget_requests(job.step, job.via)
        if job.replies:
            attempt = job.attempt if name_attempt or kind is not K.SUCCEEDED else None
            self.messages.append(
                ReplyArrived(step=job.step, kind=kind, backward=job.undo, attempt=attempt, message_id=message_id)
            )

    # --- children ---

    def is_child(self, step: str) -> bool:
        return self.definition.steps[step].kind is StepKind.CHILD

    def end_child_call(self, call: Call, kind: OutcomeKind) -> OutcomeKind:
        """Creating a child, or asking for its undoing, came to its end."""
        step, now = call.step, self.children.get(call.step)
        if call.role is Role.BACKWARD:
            if kind is K.SUCCEEDED:
                self.children[step] = "undoing" if now in ("running", "completed", "undoing") else "failed"
            return kind
        if kind is K.SUCCEEDED or now is not None:
            self.children.setdefault(step, "running")
            return K.SUCCEEDED
        return kind

    def move_child(self, step: str, *, well: bool = True) -> None:
        """A child comes to its end: completed, or failed (which is: undone)."""
        self.stuck_children.discard(step)
        if self.children[step] == "running" and well:
            self.children[step] = "completed"
            self.effects.append(Effect(step=step))
            self.book(step, "action").applied = 1
        else:
            if self.holds(step, "action"):
                self.effects.append(Effect(step=step, undo=True))
                self.book(step, "action").applied = 0
            self.children[step] = "failed"

    # --- the end ---

    def settle(self) -> None:
        """Everything that is still under way lands."""
        for job in list(self.jobs):
            self.land(job.step, job.via, undo=job.undo)
        self.jobs.clear()
