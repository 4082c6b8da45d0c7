"""What can happen to a saga in a run: each function is one kind of event, drawn by weight; and how a run goes."""

from collections.abc import Callable, Sequence

from sagafsm.core import commands as c
from sagafsm.core import events as e
from sagafsm.core.errors import SagaError
from sagafsm.core.lifecycle import SagaState, StepState
from sagafsm.testing import checker
from sagafsm.testing.checker import Broken
from tests.core.hostile_run import OUTCOMES, Run
from tests.core.strategies import Choices
from tests.core.world import K

Happening = Callable[[Run], None]
ACTOR = {"actor": "ann", "reason": "because"}


def a_call_ends(run: Run, *, faulty: bool = False, advance: bool = True) -> None:
    if not run.flights:
        a_timer_fires(run)
        return
    flight = run.choose.one_of(*run.flights)
    kind = run.choose.one_of(*OUTCOMES[1:]) if faulty else K.SUCCEEDED
    if kind is K.IMPOSSIBLE and run.choose.chance(60):
        kind = K.UNKNOWN
    run.end_call(flight, kind, advance=advance)


def a_call_goes_wrong(run: Run) -> None:
    a_call_ends(run, faulty=True)


def a_leaving_process_records_a_call(run: Run) -> None:
    if run.flights:
        a_call_ends(run, faulty=run.choose.chance(50), advance=False)
        run.crash()


def a_timer_fires(run: Run) -> None:
    wake = run.wake()
    if wake is not None:
        run.now = max(run.now, wake)
    look(run)


def time_passes(run: Run) -> None:
    run.now += run.choose.one_of(0.5, 1, 4, 30, 100)
    if run.owned:
        run.give(c.Tick())


def the_process_dies(run: Run) -> None:
    run.crash()
    run.now += run.choose.one_of(0, 1, 50)
    if run.choose.chance(70):
        run.claim(reload_at=1 + run.choose.below(run.progress.version))


def the_owner_lets_go(run: Run) -> None:
    if run.owned and not run.flights:
        run.owned = False
    elif not run.owned:
        run.claim()


def the_owner_looks(run: Run) -> None:
    if run.owned:
        run.give(c.Tick())


def work_comes_to_its_end(run: Run) -> None:
    early = [flight for flight in run.flights if not flight.arrived and run.hands_over(flight.call)]
    if early and run.choose.chance(50):
        flight = run.choose.one_of(*early)
        flight.arrived = True
        run.world.end(flight.call, K.UNKNOWN, "later", hands_over=True)
    if run.world.jobs:
        run.finish(run.choose.one_of(*run.world.jobs), run.choose.one_of(K.SUCCEEDED, *OUTCOMES[:4]))


def a_message_comes(run: Run) -> None:
    if run.world.messages:
        run.deliver(run.choose.one_of(*run.world.messages), keep=run.choose.chance(30))
    else:
        work_comes_to_its_end(run)


def a_message_is_lost(run: Run) -> None:
    if run.world.messages:
        run.world.messages.pop(0)


def a_late_result_comes(run: Run) -> None:
    if run.ghosts and run.owned:
        run.give(run.choose.one_of(*run.ghosts))


def a_wrong_reply_comes(run: Run) -> None:
    name, step = run.choose.one_of(*run.progress.steps.items())
    attempt = run.choose.one_of(step.attempts + 1, max(0, step.attempts - 1), 99)
    backward = run.choose.chance(40)
    if attempt == (step.compensation_attempts if backward else step.attempts):
        attempt = 99
    kind = run.choose.one_of(*OUTCOMES[:4])
    given = c.ReplyArrived(step=name, kind=kind, backward=backward, attempt=attempt)
    if run.give(given, advance=run.owned) is c.Delivery.ACCEPTED:
        raise Broken("only the attempt it is for", f"{given} was accepted by {step}")
    run.give(c.ReplyArrived(step="nobody", kind=kind), advance=run.owned)


def a_signal_comes(run: Run) -> None:
    name = run.choose.one_of("paper", "stone", "nothing")
    message_id = run.choose.one_of(None, "one", "two")
    run.give(c.SignalArrived(name=name, message_id=message_id), advance=run.owned and run.choose.chance(50))


def somebody_aborts(run: Run) -> None:
    asked = c.AbortAsked(
        reason="no more",
        actor="ann",
        cut=run.choose.chance(40),
        compensate=not run.choose.chance(15),
        outcome=run.choose.one_of("aborted", "compensated"),
    )
    run.give(asked, advance=run.owned and run.choose.chance(70))


def somebody_suspends_or_resumes(run: Run) -> None:
    given = c.ResumeAsked(**ACTOR) if run.progress.suspended else c.SuspendAsked(**ACTOR)
    run.give(given, advance=run.owned and run.choose.chance(70))


def somebody_retries(run: Run) -> None:
    if run.progress.stuck:
        for step in run.held:
            run.world.ask_again(step)
    run.give(c.RetryAsked(**ACTOR), advance=run.owned and run.choose.chance(70))


def somebody_skips(run: Run) -> None:
    name = run.choose.one_of(*(run.held or run.progress.steps))
    run.give(c.SkipAsked(step=name, **ACTOR), advance=run.owned and run.choose.chance(70))


def somebody_settles_an_unknown_step(run: Run) -> None:
    steps = run.progress.steps.items()
    unknown = [name for name, step in steps if step.state is StepState.UNKNOWN and not run.world.is_child(name)]
    if not (unknown and run.progress.stuck and run.progress.state is SagaState.PENDING):
        return
    if run.choose.chance(50):  # the last attempt did not happen: that says nothing of those before it
        given = c.ReplyArrived(step=unknown[0], kind=run.choose.one_of(K.FAILED, K.UNKNOWN))
        run.give(given, advance=run.owned)
        if run.progress.steps[unknown[0]].state is not StepState.UNKNOWN:
            raise Broken("unknown is sticky", f"{given} has settled it")
    settle(run, unknown[0])


def settle(run: Run, name: str) -> None:
    """A person finds out what happened, sees to it that it stays so, and says it."""
    via = run.progress.steps[name].via
    run.world.forget_requests(name, via)
    kind = K.SUCCEEDED if run.world.holds(name, via) else K.REJECTED
    run.give(c.ReplyArrived(step=name, kind=kind), advance=run.owned)


def say_what_became_of(run: Run, name: str) -> None:
    """The message of a step that awaits one was lost: its participant finishes the work and says so again."""
    step = run.progress.steps[name]
    undo = step.state is StepState.COMPENSATING
    if undo or not run.world.holds(name, step.via):
        run.world.land(name, step.via, undo=undo)
    kind = K.SUCCEEDED if undo or run.world.holds(name, step.via) else K.REJECTED
    run.give(c.ReplyArrived(step=name, kind=kind, backward=undo), advance=run.owned)


def a_child_moves(run: Run) -> None:
    children = run.world.children
    if not children:
        return
    step = run.choose.one_of(*children)
    if children[step] in ("running", "undoing"):
        how = run.choose.one_of("well", "stuck", "badly")
        if how == "stuck":
            run.world.stuck_children.symmetric_difference_update({step})
        else:
            run.world.move_child(step, well=how == "well")
    news = run.news(step)
    if news is not None and run.choose.chance(80):
        run.give(news, advance=run.owned and run.choose.chance(70))


def the_parent_undoes(run: Run) -> None:
    if run.log.account.is_child:
        run.give(c.UndoAsked(cause=e.Failure(type="Rejected")), advance=run.owned and run.choose.chance(70))


CALM: Sequence[tuple[int, Happening]] = (
    (14, a_call_ends),
    (5, a_timer_fires),
    (4, a_message_comes),
    (2, a_child_moves),
)
FAULTS: Sequence[Happening] = (
    a_call_goes_wrong,
    the_process_dies,
    time_passes,
    a_message_is_lost,
    a_late_result_comes,
    a_wrong_reply_comes,
    a_signal_comes,
    somebody_aborts,
    somebody_suspends_or_resumes,
    somebody_retries,
    somebody_skips,
    somebody_settles_an_unknown_step,
    the_parent_undoes,
    a_leaving_process_records_a_call,
    the_owner_lets_go,
    the_owner_looks,
)


def run_through_everything(choose: Choices, *, most: int = 60, drawn=None, ending: bool = True) -> Run:
    """A whole life: born, tormented, brought to its end, audited. Raises what is broken, with the story."""
    run = Run(choose, drawn)
    try:
        # Some faults often, some now and then, most not at all: a run that has everything at once goes nowhere.
        weights = [(choose.weighted([(11, 0), (6, 2), (3, 8)]), fault) for fault in FAULTS]
        happenings = [*CALM, *((weight, fault) for weight, fault in weights if weight)]
        if choose.chance(10):
            choose.weighted(happenings)(run)  # something comes before anybody began it
        if not run.owned:
            run.owned = True
            run.give(c.Begin())
        for _ in range(choose.below(most)):
            if run.ended and not run.log.account.is_child and choose.chance(50):
                break
            choose.weighted(happenings)(run)
        if ending:
            bring_to_its_end(run)
            audit(run)
    except (SagaError, AssertionError, LookupError, TypeError, ValueError, AttributeError) as broken:
        broken.add_note(run.story())
        raise
    return run


def audit(run: Run) -> None:
    run.world.settle()
    checker.check_net_effect(run.definition, run.progress, run.world.effects)
    checker.check_replay(run.log.entries, range(1, run.progress.version, 5))


# --- the faults stop ---


def bring_to_its_end(run: Run) -> None:
    """All calls succeed, time passes, replies come: the saga ends, or is stuck and a person leads it on."""
    for number in range(6 + 4 * len(run.definition.steps)):
        calm_down(run)
        if run.ended:
            return
        lead_on(run, number)
    raise Broken("liveness", "a person leads it on again and again, and it does not end")


def calm_down(run: Run) -> None:
    """Until the saga ends or is stuck; in a bounded number of turns."""
    for _ in range(60 + 30 * len(run.definition.steps)):
        if run.ended or not _goes_on(run):
            return
    raise Broken("liveness", "no faults any more, and yet it does not end")


def _goes_on(run: Run) -> bool:
    """One thing that is to happen happens; False: nothing is, because the saga is stuck."""
    world = run.world
    if run.progress.suspended:
        run.give(c.ResumeAsked(**ACTOR), advance=run.owned)
    elif run.owed:
        look(run)
    elif run.flights:
        run.end_call(run.flights[0], K.SUCCEEDED)
    elif world.messages:
        run.deliver(world.messages[0])
    elif replying := [job for job in world.jobs if job.replies]:
        run.finish(replying[0], K.SUCCEEDED)
    elif told := _news_of_some_child(run):
        run.give(told, advance=run.owned)
    elif run.progress.stuck:
        return False
    elif moving := [step for step, state in world.children.items() if state in ("running", "undoing")]:
        world.move_child(moving[0])
    elif waiting := [name for name, step in run.progress.steps.items() if step.waiting == "reply"]:
        say_what_became_of(run, waiting[0])
    elif wanted := run.signals_wanted():
        run.give(c.SignalArrived(name=wanted[0]), advance=run.owned)
    else:
        wake = run.wake()
        if wake is None:
            raise Broken("liveness", "it waits for nothing and for nobody")
        run.now = max(run.now, wake)
        look(run)
    return True


def look(run: Run) -> None:
    """Whoever owns the saga looks at it; if nobody does, somebody takes it up."""
    if run.owned:
        run.give(c.Tick())
    else:
        run.claim()


def _news_of_some_child(run: Run) -> c.Input | None:
    """Where a child stands still; a stuck one is mended first."""
    for step in list(run.world.children):
        run.world.stuck_children.discard(step)
        if (news := run.news(step)) is not None:
            return news
    return None


def lead_on(run: Run, number: int) -> None:
    """A stuck saga names the step; retry, skip, abort or the truth about an unknown step leads on."""
    if not run.progress.stuck:
        raise Broken("liveness", "it is neither ended nor stuck")
    step = run.progress.stuck_step
    if step not in run.held or step not in (run.progress.stuck_reason or ""):
        raise Broken("stuck is explained", f"{step}: {run.progress.stuck_reason}; held is {run.held}")
    verbs = [somebody_retries, somebody_skips, somebody_aborts]
    first = run.choose.one_of(*verbs) if number % 2 == 0 else verbs[number // 2 % 3]
    for verb in (first, somebody_retries, somebody_settles_an_unknown_step):
        before = run.progress.version
        verb(run)
        if run.progress.version > before:
            return
    raise Broken("liveness", f"nothing that a person can do leads on: {run.progress.stuck_reason}")
