"""How the processes that torchrun has started for a run come together."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import uuid4

from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from unrolled.errors import TrainingError, UsageError
from unrolled.training.ranks import SILENCE, Ranks, peers_explained

SECONDS_TO_MEET = 300.0
"""Processes that are started together wait so long for one another."""
PREPARING = timedelta(days=1)
"""What the first process may take to read the text and to plan, while the others wait."""


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes of this run, together until the end; what they say to each other goes by gloo.

    Raises:
        UsageError: torchrun's environment is incomplete.
        TrainingError: the processes cannot find one another.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks()
        return
    try:
        rank, _ = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"WORLD_SIZE is {count}, but RANK and LOCAL_RANK are missing: start the run by torchrun"
        ) from error
    with peers_explained():
        store, _, _ = next(rendezvous("env://"))
        distributed.init_process_group(
            "gloo",
            store=PrefixStore(start_of_all(store, rank, count), store),
            rank=rank,
            world_size=count,
            timeout=SILENCE,
        )
        patient = distributed.new_group(timeout=PREPARING)
    try:
        yield Ranks(rank, count, store, patient)
    except BaseException:
        with suppress(RuntimeError):  # what NCCL says again of a process that is gone
            distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()


def start_of_all(store: Store, rank: int, count: int) -> str:
    """A name that all processes have in common and no earlier start of them had.

    torchrun's store outlives the processes, and what an earlier start has left in it would be taken for this one's
    (pytorch issue 135712). The first process calls, the others answer with names of their own until it has heard them.

    Raises:
        TrainingError: the others do not come.
    """
    own, end = uuid4().hex, time.monotonic() + SECONDS_TO_MEET

    def wait() -> None:
        if time.monotonic() > end:
            raise TrainingError(f"the {count} processes of the run did not meet in {SECONDS_TO_MEET:.0f} seconds")
        time.sleep(0.01)

    def said(key: str) -> list[str]:
        return store.get(key).decode().split() if store.check([key]) else []

    if rank == 0:
        store.set("unrolled/call", own)
        answers: list[list[str]] = [[]] * count
        while any(answer[:1] != [own] for answer in answers[1:]):
            wait()
            answers = [said(f"unrolled/answer/{other}") for other in range(count)]
        store.set("unrolled/all", " ".join([own, *(answer[1] for answer in answers[1:])]))
        return own
    while True:
        call, everyone = said("unrolled/call"), said("unrolled/all")
        if own in everyone:
            return everyone[0]
        if call:
            store.set(f"unrolled/answer/{rank}", f"{call[0]} {own}")
        wait()
