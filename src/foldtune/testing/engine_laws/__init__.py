"""Laws of an engine: what every implementation of `foldtune.train.engine` must keep.

Each law takes the engine under test as a function from a setup, and a configuration; it raises `AssertionError` when it
is broken. The rows are few and made here; every fold trains in well under a second.
"""

from foldtune.testing.engine_laws.answers import (
    check_answers_give_the_scores,
    check_answers_not_kept,
    check_counts_parameters,
)
from foldtune.testing.engine_laws.company import check_failure_is_one_jobs_own, check_jobs_do_not_touch
from foldtune.testing.engine_laws.guide import check_guide_decides
from foldtune.testing.engine_laws.leaks import (
    check_chosen_epoch_reads_other_folds,
    check_nothing_crosses,
    check_schedule_reads_other_folds,
)
from foldtune.testing.engine_laws.numbers import (
    check_other_key_other_start,
    check_reports,
    check_same_seed_same_numbers,
    check_stops_early,
)
from foldtune.testing.engine_laws.runs import (
    MakeEngine,
    Trained,
    assert_close_answers,
    assert_same,
    assert_same_reports,
    assert_same_results,
    going,
    saved,
    train,
)
from foldtune.testing.engine_laws.states import (
    check_failure_while_going_on,
    check_restored_equals_uninterrupted,
    check_restored_in_other_company,
    check_state_of_a_done_job,
    check_state_that_does_not_fit,
)
from foldtune.testing.engine_laws.studies import (
    EPOCHS,
    FEATURES,
    METRICS,
    ROWS,
    K,
    folds_apart,
    make_config,
    make_job,
    make_setup,
)

__all__ = [
    "EPOCHS",
    "FEATURES",
    "METRICS",
    "ROWS",
    "K",
    "MakeEngine",
    "Trained",
    "assert_close_answers",
    "assert_same",
    "assert_same_reports",
    "assert_same_results",
    "check_answers_give_the_scores",
    "check_answers_not_kept",
    "check_chosen_epoch_reads_other_folds",
    "check_counts_parameters",
    "check_failure_is_one_jobs_own",
    "check_failure_while_going_on",
    "check_guide_decides",
    "check_jobs_do_not_touch",
    "check_nothing_crosses",
    "check_other_key_other_start",
    "check_reports",
    "check_restored_equals_uninterrupted",
    "check_restored_in_other_company",
    "check_same_seed_same_numbers",
    "check_schedule_reads_other_folds",
    "check_state_of_a_done_job",
    "check_state_that_does_not_fit",
    "check_stops_early",
    "folds_apart",
    "going",
    "make_config",
    "make_job",
    "make_setup",
    "saved",
    "train",
]
