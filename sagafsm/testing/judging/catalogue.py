"""The invariants, by number: what each says, and where it is held. The number begins the message of whoever breaks it.

What must stay true: every number that an error can begin with is here, and every entry names something that exists.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Invariant:
    """One rule. ``held_by``: the functions or runs that assert it, as ``module.name`` below ``sagafsm.testing``."""

    number: str
    rule: str
    held_by: tuple[str, ...]


def _all(*invariants: tuple[str, str, str]) -> Mapping[str, Invariant]:
    return {number: Invariant(number, rule, tuple(held.split())) for number, rule, held in invariants}


INVARIANTS: Mapping[str, Invariant] = _all(
    ("L1", "events are numbered 1, 2, 3 …, and the record's version is their count",
     "judging.records.Records.appended judging.logs.stored_as_accepted checker.check_log"),
    ("L2", "what was once accepted or shown stays: the log only grows",
     "judging.logs.stored_as_accepted judging.answers.views_are_whole"),
    ("L3", "the events of one append are all there, together, or none is", "judging.logs.stored_as_accepted"),
    ("L4", "an append is applied once, however often it is handed in", "judging.records.Records.appended"),
    ("L5", "every prefix of a log folds, and the fold says what the events say", "checker.check_fold_agrees"),
    ("L6", "the fold depends on the log only; a snapshot and the rest is the whole",
     "checker.check_replay checker.LogChecker.see"),
    ("L7", "deciding again without news decides nothing new; a saga at its end decides nothing",
     "judging.logs.at_rest checker.check_rest checker.check_repeatable"),
    ("L8", "a log is bounded", "checker.check_bounded"),
    ("L9", "a start that was answered with yes is there", "judging.answers.starts_are_kept"),
    ("L10", "the fences of a log never fall", "judging.records.Records.appended"),
    ("L11", "the times in a log decide nothing", "judging.logs.time_is_not_order"),
    ("S1", "one terminal event, and nothing after it: no event, no claim, no call",
     "laws.one_terminal_event_and_last judging.records.Records.granted judging.calls.Calls.began"),
    ("S2", "only legal transitions", "laws.only_legal_transitions"),
    ("S3", "completed: every step succeeded or was skipped, and each effect stands once",
     "laws.completed_means_done checker.check_net_effect"),
    ("S4", "failed: everything due was undone, or waived by a person",
     "laws.failed_means_undone checker.check_net_effect"),
    ("S5", "no way back past the pivot, nor while it may have happened", "laws.no_way_back_past_the_pivot"),
    ("S6", "nothing new begins on the way back, nor while halted",
     "laws.nothing_new_starts_on_the_way_back laws.nothing_starts_while_halted"),
    ("C1", "the net effect is what the log says", "checker.check_net_effect"),
    ("C2", "undone is what is due, and all of it", "laws.only_what_is_due_is_undone laws.failed_means_undone"),
    ("C3", "undone in the reverse order of completion", "laws.undone_in_reverse_order"),
    ("C4", "a compensation that fails holds up those before it, and goes on where it was",
     "laws.undone_in_reverse_order laws.calls_are_numbered"),
    ("C5", "a compensation that cannot be called is not taken for done",
     "laws.failed_means_undone checker.check_net_effect"),
    ("C6", "a compensation is given the recorded result, the same at every try", "judging.calls.Calls.began"),
    ("C7", "compensation is never called off", "laws.only_legal_transitions"),
    ("U1", "every call is announced in the log before it begins, and announced once",
     "judging.calls.Calls.began laws.calls_are_numbered checker.check_decision"),
    ("U2", "one key for all attempts, and the same payload under it", "laws.keys_are_stable judging.calls.Calls.began"),
    ("U3", "a late effect changes nothing in the end", "checker.check_net_effect"),
    ("U4", "unknown stays unknown until somebody knows; no fallback meanwhile",
     "laws.no_fallback_while_unknown laws.only_legal_transitions"),
    ("U5", "what is not idempotent is not repeated", "laws.what_is_not_idempotent_is_not_repeated"),
    ("U6", "an open outcome is recorded as open, a definite one as definite", "judging.calls.Calls.classified"),
    ("U7", "attempts and interruptions within their limits, across crashes", "laws.attempts_within_limits"),
    ("U8", "backoffs are stored, and kept", "laws.backoff_is_kept laws.backoff_is_stored"),
    ("F1", "one owner at a time, by the store's clock", "judging.records.Records.granted"),
    ("F2", "every accepted write carries the largest fence granted", "judging.records.Records.appended"),
    ("F3", "fences only grow", "judging.records.Records.granted"),
    ("F4", "no call under an old fence that was not accepted before the new one", "judging.calls.Calls.began"),
    ("F5", "no call begins when the lease has run out", "judging.calls.Calls.began"),
    ("F6", "who is fenced off stops", "judging.calls.Calls.began"),
    ("F7", "no two processes share a worker's id", "judging.records.Records.worker_of"),
    ("F8", "a lost lease releases nothing", "judging.records.Records.released"),
    ("F9", "a process that was stopped has stopped", "judging.calls.Calls.began"),
    ("CL1", "leases are judged by the store's clock", "judging.records.Records.granted"),
    ("CL2", "the clocks of processes change nothing", "judging.records.Records.granted"),
    ("CL3", "a jump of the store's clock breaks nothing", "checker.check_net_effect judging.records.Records.appended"),
    ("CL4", "a timer fires when its time has come, and once", "judging.logs.timers_are_due"),
    ("P1", "compensation begins when no sibling runs any more", "laws.siblings_end_before_compensation"),
    ("P2", "what depends on a step is undone before it", "laws.undone_in_reverse_order"),
    ("P3", "a join happens once, after all that it waits for",
     "laws.steps_wait_for_their_dependencies laws.messages_are_taken_once laws.calls_are_numbered"),
    ("P4", "what was cut short counts as unknown", "checker.check_net_effect judging.calls.Calls.classified"),
    ("A1", "one id, one saga: the same start is the same saga, another is refused", "judging.answers.one_id_one_saga"),
    ("A2", "an abort that was accepted is kept, and one that was not says so",
     "laws.completed_means_done judging.answers.aborts_are_kept"),
    ("A3", "what a person does is in the log, with who and why",
     "judging.logs.people_are_named laws.only_what_is_stuck_is_granted"),
    ("A4", "readers see one moment", "judging.answers.views_are_whole"),
    ("V1", "a saga runs by its own definition, where that is known", "judging.calls.Calls.began"),
    ("V2", "steps are known by their names", "judging.logs.steps_are_those_of_the_definition"),
    ("V3", "what a newer version wrote is refused, not dropped", "judging.logs.follow"),
    ("D1", "what is stored comes back as it was", "checker.LogChecker.see"),
    ("D2", "one saga that cannot be read holds up no other", "judging.logs.follow"),
    ("R1", "purged is only what ended long enough ago", "judging.records.Records.purge"),
    ("V-L1", "when nothing is broken any more every saga ends, or says what a person must do",
     "simulation.run.Run._not_settled checker.check_awake"),
    ("V-L2", "no wake-up is lost", "simulation.run.Run.play checker.check_awake"),
    ("V-L3", "no saga starves another", "simulation.run.Run._not_settled"),
    ("V-L4", "nothing goes round in circles",
     "judging.records.Records.granted simulation.run.Run.play checker.check_rest"),
    ("V-L5", "nothing is left behind", "simulation.run.Run._leave"),
)  # fmt: skip
