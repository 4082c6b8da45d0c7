"""What the simulation was asked to try, in words: the faults and what stands for each; the mutants and their names."""

FAULTS = {
    "a store's call fails before it does anything": "commit before, claim before, beat before, read before",
    "a store's call is applied, and its answer is lost": "commit after, claim after, beat after",
    "a store's call is applied after its caller gave up": "commit late, claim late",
    "a read shows what was before the last write": "read stale",
    "the store is slow, from a hiccup to longer than a lease": "commit slow, claim slow, beat slow, read slow",
    "whoever asked is cancelled, at every step": "cancel, call interrupted",
    "a saga that nobody can read lies in the store": "poisoned",
    "somebody deletes a saga, garbles its log or loses the end of it, behind the engine's back": "tampered",
    "a process dies at every step": "crash",
    "a process stands still for longer than its lease, and goes on": "freeze",
    "several processes are told at once to take up the same sagas": "resume all",
    "a process is stopped in good order, at every step": "stop",
    "code of a step ends its process, or raises what is no error": "call died",
    "a participant answers late, twice, or with what cannot be stored": "call slow, message twice, call unstorable",
    "a call fails before its effect, or after": "call error, call lost before, call lost after, call lost late",
    "a participant says no": "call rejected",
    "a compensation fails some times, or for ever": "stuck_compensation, undone_in_parallel, sub_saga",
    "a call goes on although it was cancelled": "call stubborn",
    "replies are lost, doubled, early, or of an attempt or saga that never was": (
        "message lost, message twice, message early, message astray"
    ),
    "a signal comes twice, or before anybody waits for it": "signal twice, message early",
    "the clocks of processes are days apart and drift": "skew",
    "the store's clock jumps": "clock forward, clock back",
    "clients start twice, abort, suspend, retry, read and purge at any moment": (
        "start twice, abort, suspend, retry, look, purge"
    ),
}

MUTANTS = {
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
