"""Training that can be left between two records and taken up again, bit for bit.

A `Run` holds what changes while R replicas train, and `SummarisedRun` adds the summary of its steps
so far. `train_run` trains one run, `train_side_by_side` independent groups of replicas in threads.
What they leave in a `pipeline_lib.artifacts.checkpoint.Checkpoint` does not depend on the number of
threads.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Event
from typing import Any, Protocol

import numpy as np

from pipeline_lib.artifacts.block_tables import BlockTables
from pipeline_lib.artifacts.checkpoint import Checkpoint
from pipeline_lib.artifacts.state_archive import State
from pipeline_lib.estimation.statistics import GradientRecord, Summary, Tables
from pipeline_lib.logs import progress
from pipeline_lib.training.steps import StepPlan

# Seconds after which the main thread looks again whether a save is due or a stop was requested.
_POLL_S = 0.05


class Run(Protocol):
    """R replicas on their way through the steps of one training."""

    def records(self, first_step: int) -> Iterator[GradientRecord]:
        """Train from ``first_step`` to the end; between two records `state` can be taken."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that changes but for the step; arrays are those in use, not copies."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; ``state`` stays as it is."""
        ...


class SummarisedRun:
    """A run of ``n_replicas`` with the summary of its steps so far.

    It starts at step 0, or where ``state`` was taken.
    """

    def __init__(self, run: Run, n_replicas: int, state: Mapping[str, Any] | None = None) -> None:
        self.run = run
        self.summary = Summary(n_replicas)
        self.step = 0
        if state is not None:
            self.step = state["step"]
            run.restore(state["run"])
            self.summary.restore(state["summary"])

    def finish(self, after_record: Callable[[], None]) -> Tables:
        """Train to the end; ``after_record`` may take a state or raise to leave."""
        # Overflow is a finding here, recorded as divergence, not an accident.
        with np.errstate(over="ignore", invalid="ignore"):
            for record in self.run.records(self.step):
                self.summary.add(record)
                self.step = int(record.steps[-1]) + 1
                after_record()
        return self.summary.tables()

    def state(self) -> dict[str, Any]:
        """What the constructor takes; arrays are those in use, not copies."""
        return {"step": self.step, "run": self.run.state(), "summary": self.summary.state()}

    def snapshot(self) -> Callable[[], State]:
        """What gives the present `state`, also later and in another thread."""
        step, run, summary = self.step, copy.deepcopy(self.run.state()), self.summary.copy()
        return lambda: {"step": step, "run": run, "summary": summary.state()}


def train_run(run: Run, plan: StepPlan, checkpoint: Checkpoint | None = None) -> BlockTables:
    """Train all replicas of ``plan`` as one run and summarise every step that it records.

    ``checkpoint`` is where to save the state and to go on from, opened and closed by the caller.

    Raises ArtifactError if the checkpoint is of another run, StoppedError after a requested stop.
    """
    training = SummarisedRun(run, plan.n_replicas, checkpoint.load() if checkpoint else None)

    def save_if_due() -> None:
        if checkpoint is not None:
            checkpoint.save_if_due(training.state)

    result = BlockTables(**training.finish(save_if_due))
    result.log_divergence(plan.n_replicas, plan.batch_size)
    return result


class _EndedEarly(Exception):  # noqa: N818
    """Ends a group whose numbers nobody waits for any more."""


def train_side_by_side(
    make_run: Callable[[int], Run],
    sizes: Sequence[int],
    threads: int,
    what: str,
    checkpoint: Checkpoint | None = None,
    initializer: Callable[[], None] | None = None,
) -> list[Tables]:
    """Train groups of ``sizes`` replicas, ``threads`` of them at a time; their tables in order.

    Args:
        make_run: starts the run of a group, by its number; called in the group's thread.
        what: names the groups in the log.
        checkpoint: opened and closed by the caller, in the main thread. It holds the tables of
            finished groups and the states of running ones, each as of its last record.
        initializer: called once in each thread.

    When a group fails or a stop is requested, running groups end after their present record.

    Raises ArtifactError if the checkpoint is of another run, StoppedError after a requested stop.
    """
    saved = None if checkpoint is None else checkpoint.load()
    saved = {"finished": {}, "running": {}} if saved is None else saved
    finished: dict[int, Tables] = {int(group): of for group, of in saved["finished"].items()}
    # What gives the newest state of a group that has begun; written by the group's own thread.
    states: dict[int, Callable[[], State]] = {
        int(group): partial(dict, of) for group, of in saved["running"].items()
    }
    ending = Event()

    def train(group: int) -> Tables:
        before = states[group]() if group in states else None
        run = SummarisedRun(make_run(group), sizes[group], before)

        def after_record() -> None:
            if ending.is_set():
                raise _EndedEarly
            if checkpoint is not None:
                states[group] = run.snapshot()

        return run.finish(after_record)

    def state() -> State:
        running = {str(group): of() for group, of in states.copy().items() if group not in finished}
        return {"finished": {str(group): of for group, of in finished.items()}, "running": running}

    def save_if_due() -> None:
        if checkpoint is not None:
            checkpoint.save_if_due(state)

    with ThreadPoolExecutor(threads, initializer=initializer) as jobs:
        try:
            left = {jobs.submit(train, k): k for k in range(len(sizes)) if k not in finished}
            for group, tables in progress(_as_they_end(left, save_if_due), len(left), what):
                finished[group] = tables
                states.pop(group, None)
        except BaseException:
            ending.set()
            jobs.shutdown(wait=False, cancel_futures=True)
            raise
    return [finished[group] for group in range(len(sizes))]


def _as_they_end(
    groups: Mapping[Future[Tables], int], meanwhile: Callable[[], None]
) -> Iterator[tuple[int, Tables]]:
    """Number and tables of each group; ``meanwhile`` is called between, while any is left."""
    left = set(groups)
    while left:
        ended, left = wait(left, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        for job in ended:
            yield groups[job], job.result()
        if left:
            meanwhile()
