"""The simulation kills every planted mistake within 2,000 runs: else it would not have seen the real one either."""

import pytest

from sagafsm.testing.simulation.campaign import by_chance, play
from tests.simulation.mutants import MUTANTS
from tests.simulation.shapes import SHAPES

WITHIN = 2_000


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_simulation_kills(mutant, monkeypatch):
    mutant.plant(monkeypatch)
    plans = [SHAPES[name]() for name in mutant.on]
    for number, case in enumerate(by_chance(1, WITHIN)):
        played = play(plans[number % len(plans)], case, thorough=False)
        if played.broken is not None:
            assert not isinstance(played.broken.__cause__, TypeError), (
                "the mutant itself does not fit the code any more"
            )
            print(f"KILLED {mutant.name} by run {case}: {str(played.broken)[:150]}")
            return
    pytest.fail(f"{mutant.name} survived {WITHIN} runs")


def test_without_a_mutant_the_same_runs_are_clean():
    for name in sorted({name for mutant in MUTANTS for name in mutant.on}):
        plan = SHAPES[name]()
        for case in by_chance(1, 60):
            assert play(plan, case).broken is None, f"{name} {case}"


# What a simulation must notice, each in words, and the mutants that stand for it.
ASKED_FOR = {
    "no version check": "no_version_check",
    "no fence check": "no_fence_check",
    "fence not bumped on claim": "the_fence_is_not_raised_by_a_claim",
    "release unconditional": "release_is_unconditional",
    "renew revives an expired lease": "renewing_revives_an_expired_lease",
    "key per attempt": "one_key_per_attempt",
    "key per fence": "one_key_per_fence",
    "forward-order compensation": "compensation_in_the_order_of_completion",
    "skip unknown step": "an_unknown_step_is_not_undone",
    "compensate never-started step": "a_step_that_never_started_is_undone",
    "timeout = business failure": "a_timeout_counts_as_a_failure",
    "blind append retry without append_id": "a_doubtful_append_is_sent_again_under_another_id",
    "append retry with re-read version": "a_doubtful_append_is_sent_again_for_the_version_that_is_there",
    "terminal not absorbing": "a_terminal_saga_still_changes",
    "cancel overwrites completed": "an_abort_overwrites_a_completed_saga",
    "completion overwrites cancel": "completion_overwrites_an_accepted_abort",
    "late reply accepted": "a_late_reply_is_accepted",
    "duplicate reply advances twice": "a_duplicate_message_advances_twice",
    "attempts counted on failure only": "attempts_are_counted_when_they_fail_only",
    "recovery swallows an exception": "recovery_swallows_an_error",
    "one bad row aborts the sweep": "one_bad_saga_ends_the_sweep",
    "due_at not stored with backoff": "the_due_time_is_not_stored_with_a_backoff",
    "worker clock used for lease": "a_worker_judges_leases_by_its_own_clock",
    "CancelledError caught as failure": "a_cancelled_call_counts_as_a_failure",
    "snapshot off by one": "a_snapshot_off_by_one",
    "batch split in two writes": "a_batch_is_split_in_two_writes",
    # Defects that the simulation found in this engine.
    "a lost claim": "a_claim_whose_answer_was_lost_is_forgotten",
    "a late claim": "a_claim_that_arrives_after_its_answer_was_given_up_is_forgotten",
    "let go under a writer's eyes": "a_saga_that_was_let_go_under_a_writers_eyes_is_not_adopted",
}


def test_all_that_were_asked_for_are_planted():
    assert sorted(ASKED_FOR.values()) == sorted(mutant.name for mutant in MUTANTS)
