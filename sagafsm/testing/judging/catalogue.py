"""The invariants, by number: what each says, and where it is held. The number begins the message of whoever breaks it.

What must stay true: every number that an error can begin with is here, and every entry names something that exists.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

TRACES: Mapping[str, str] = {
    "log": "the events of a saga, as they are stored",
    "grants": "what the store granted: claims, leases, releases, and its decision on every append",
    "world": "calls that began and ended, and what took effect",
    "api": "what clients asked and were told",
    "faults": "what was broken, and when",
}


@attrs.frozen
class Invariant:
    """One rule. ``reads``: the traces that it is judged by. ``held_by``: the functions or runs that assert it, as
    ``module.name`` below ``sagafsm.testing``.
    """

    number: str
    reads: tuple[str, ...]
    rule: str
    held_by: tuple[str, ...]


def _all(*invariants: tuple[str, str, str, str]) -> Mapping[str, Invariant]:
    return {
        number: Invariant(number, tuple(reads.split()), rule, tuple(held.split()))
        for number, reads, rule, held in invariants
    }


INVARIANTS: Mapping[str, Invariant] = _all(
    ("L1", "log grants", "events are numbered 1, 2, 3 …, and the record's version is their count",
     "judging.records.Records.appended judging.logs.stored_as_accepted checker.check_log"),
    ("L2", "log grants api", "what was once accepted or shown stays: the log only grows",
     "judging.logs.stored_as_accepted judging.answers.views_are_whole"),
    ("L3", "log grants", "the events of one append are all there, together, or none is",
     "judging.logs.stored_as_accepted"),
    ("L4", "log grants", "an append is applied once, however often it is handed in",
     "judging.records.Records.appended"),
    ("L5", "log", "every prefix of a log folds, and the fold says what the events say", "checker.check_fold_agrees"),
    ("L6", "log", "the fold depends on the log only; a snapshot and the rest is the whole",
     "checker.check_replay checker.LogChecker.see"),
    ("L7", "log", "deciding again without news decides nothing new; a saga at its end decides nothing",
     "judging.logs.at_rest checker.check_rest checker.check_repeatable"),
    ("L8", "log", "a log is bounded", "checker.check_bounded"),
    ("L9", "log api", "a start that was answered with yes is there", "judging.answers.starts_are_kept"),
    ("L10", "log grants", "the fences of a log never fall", "judging.records.Records.appended"),
    ("L11", "log", "the times in a log decide nothing", "judging.logs.time_is_not_order"),
    ("S1", "log grants world faults", "one terminal event, and nothing after it: no event, no claim, no call",
     "laws.one_terminal_event_and_last judging.records.Records.granted judging.calls.Calls.began"),
    ("S2", "log", "only legal transitions", "laws.only_legal_transitions"),
    ("S3", "log world", "completed: every step succeeded or was skipped, and each effect stands once",
     "laws.completed_means_done checker.check_net_effect"),
    ("S4", "log world", "failed: everything due was undone, or waived by a person",
     "laws.failed_means_undone checker.check_net_effect"),
    ("S5", "log", "no way back past the pivot, nor while it may have happened", "laws.no_way_back_past_the_pivot"),
    ("S6", "log", "nothing new begins on the way back, nor while halted",
     "laws.nothing_new_starts_on_the_way_back laws.nothing_starts_while_halted"),
    ("C1", "log world", "the net effect is what the log says", "checker.check_net_effect"),
    ("C2", "log", "undone is what is due, and all of it", "laws.only_what_is_due_is_undone laws.failed_means_undone"),
    ("C3", "log", "undone in the reverse order of completion", "laws.undone_in_reverse_order"),
    ("C4", "log", "a compensation that fails holds up those before it, and goes on where it was",
     "laws.undone_in_reverse_order laws.calls_are_numbered"),
    ("C5", "log world", "a compensation that cannot be called is not taken for done",
     "laws.failed_means_undone checker.check_net_effect"),
    ("C6", "log world", "a compensation is given the recorded result, the same at every try",
     "judging.calls.Calls.began"),
    ("C7", "log", "compensation is never called off", "laws.only_legal_transitions"),
    ("U1", "log grants world", "every call is announced in the log before it begins, and announced once",
     "judging.calls.Calls.began judging.made.calls_were_announced laws.calls_are_numbered checker.check_decision"),
    ("U2", "log world", "one key for all attempts, and the same payload under it",
     "laws.keys_are_stable judging.calls.Calls.began"),
    ("U3", "log world", "a late effect changes nothing in the end", "checker.check_net_effect"),
    ("U4", "log", "unknown stays unknown until somebody knows; no fallback meanwhile",
     "laws.no_fallback_while_unknown laws.only_legal_transitions"),
    ("U5", "log", "what is not idempotent is not repeated", "laws.what_is_not_idempotent_is_not_repeated"),
    ("U6", "log world", "an open outcome is recorded as open, a definite one as definite",
     "judging.calls.Calls.classified"),
    ("U7", "log", "attempts and interruptions within their limits, across crashes", "laws.attempts_within_limits"),
    ("U8", "log", "backoffs are stored, and kept", "laws.backoff_is_kept laws.backoff_is_stored"),
    ("F1", "grants", "one owner at a time, and one that is alive, by the store's clock",
     "judging.records.Records.granted"),
    ("F2", "grants", "every accepted write carries the largest fence granted", "judging.records.Records.appended"),
    ("F3", "grants", "fences only grow", "judging.records.Records.granted"),
    ("F4", "grants world", "no call under an old fence that was not accepted before the new one",
     "judging.calls.Calls.began"),
    ("F5", "grants world faults", "no call begins when the lease has run out", "judging.calls.Calls.began"),
    ("F6", "grants world faults", "who is fenced off stops", "judging.calls.Calls.began"),
    ("F7", "grants", "no two processes share a worker's id", "judging.records.Records.worker_of"),
    ("F8", "grants", "a lost lease releases nothing", "judging.records.Records.released"),
    ("F9", "grants world faults", "a process that was stopped has stopped",
     "judging.calls.Calls.began"),
    ("CL1", "grants", "leases are judged by the store's clock", "judging.records.Records.granted"),
    ("CL2", "grants faults", "the clocks of processes change nothing", "judging.records.Records.granted"),
    ("CL3", "log grants world faults", "a jump of the store's clock breaks nothing",
     "checker.check_net_effect judging.records.Records.appended"),
    ("CL4", "log", "a timer fires when its time has come, and once", "judging.logs.timers_are_due"),
    ("P1", "log", "compensation begins when no sibling runs any more", "laws.siblings_end_before_compensation"),
    ("P2", "log", "what depends on a step is undone before it", "laws.undone_in_reverse_order"),
    ("P3", "log", "a join happens once, after all that it waits for",
     "laws.steps_wait_for_their_dependencies laws.messages_are_taken_once laws.calls_are_numbered"),
    ("P4", "log world", "what was cut short counts as unknown",
     "checker.check_net_effect judging.calls.Calls.classified"),
    ("A1", "api", "one id, one saga: the same start is the same saga, another is refused",
     "judging.answers.one_id_one_saga"),
    ("A2", "log api", "an abort that was accepted is kept, and one that was not says so",
     "laws.completed_means_done judging.answers.aborts_are_kept"),
    ("A3", "log", "what a person does is in the log, with who and why",
     "judging.logs.people_are_named laws.only_what_is_stuck_is_granted"),
    ("A4", "log api", "readers see one moment", "judging.answers.views_are_whole"),
    ("V1", "log world", "a saga runs by its own definition, where that is known", "judging.calls.Calls.began"),
    ("V2", "log", "steps are known by their names", "judging.logs.steps_are_those_of_the_definition"),
    ("V3", "log", "what a newer version wrote is refused, not dropped", "judging.logs.follow"),
    ("D1", "log", "what is stored comes back as it was", "checker.LogChecker.see"),
    ("D2", "log faults", "one saga that cannot be read holds up no other", "judging.logs.follow"),
    ("R1", "grants", "purged is only what ended long enough ago", "judging.records.Records.purge"),
    ("V-L1", "log grants faults", "when nothing is broken any more every saga ends, or says what a person must do",
     "simulation.run.Run._not_settled checker.check_awake"),
    ("V-L2", "log grants faults", "no wake-up is lost", "simulation.run.Run.play checker.check_awake"),
    ("V-L3", "grants faults", "no saga starves another", "simulation.run.Run._not_settled"),
    ("V-L4", "log grants faults", "nothing goes round in circles",
     "judging.records.Records.granted simulation.run.Run.play checker.check_rest"),
    ("V-L5", "faults", "nothing is left behind", "simulation.run.Run._leave"),
)  # fmt: skip
