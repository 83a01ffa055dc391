"""Several processes under torchrun are one run: the same losses and files; one that dies ends it, and it goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed
from torch._C._distributed_c10d import HashStore

from unrolled import model_directory
from unrolled.cli import app
from unrolled.errors import ModelDirectoryError, TrainingError, UsageError
from unrolled.text.batches import Batch
from unrolled.training import joining
from unrolled.training.events import Stopped
from unrolled.training.joining import joined, start_of_all
from unrolled.training.ranks import Ranks, joined_states
from unrolled.training.run import run

from .runs import DEFAULTS, config_of, log_of

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
SMALL = (
    *("--min-count", "2", "--cell", "gru", "--hidden", "8", "--layers", "2", "--batch", "7", "--window", "16"),
    *("--learning-rate", "0.02", "--threads", "1"),
)
OFTEN = ("--checkpoint-every", "0.001")
SECONDS = 60.0


RUNNING: list["subprocess.Popen[str]"] = []


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    yield
    for process in RUNNING:
        for number in (*workers_of(process).values(), process.pid):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.communicate(timeout=SECONDS)
    RUNNING.clear()


def start(*words: object, torchrun: tuple[str, ...] = (), **options: Any) -> "subprocess.Popen[str]":
    command = [*TORCHRUN, *torchrun, "-m", "unrolled", "train", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    RUNNING.append(process)
    return process


def finish(process: "subprocess.Popen[str]") -> str:
    """What the processes said, once they are at an end."""
    _, said = process.communicate(timeout=2 * SECONDS)
    return said


def workers_of(process: "subprocess.Popen[str]") -> dict[int, int]:
    """Process by rank, once both train."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[1]) == process.pid:
                    environment = (entry / "environ").read_bytes().split(b"\0")
                    (rank,) = (int(each[5:]) for each in environment if each.startswith(b"RANK="))
                    found[rank] = int(entry.name)
            except (OSError, ValueError, IndexError):
                continue
    return found


def checkpoint_of(out: Path) -> int:
    """Steps of the last checkpoint; -1 where there is none, or another is just being put in its place."""
    try:
        found = model_directory.load_training(out)
    except ModelDirectoryError:
        return -1
    return -1 if found is None else int(found[0]["steps"])


def wait_until(condition: Any, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def trained(log: list[dict[str, Any]]) -> dict[tuple[int, int], float]:
    """Training loss by stretch of steps; where a stretch ends depends on the clock too."""
    lines = [record for record in log if "training_loss" in record]
    starts = [0, *(record["step"] for record in lines)]
    return {(start, line["step"]): line["training_loss"] for start, line in zip(starts, lines, strict=False)}


@pytest.mark.parametrize("read", ["stream", pytest.param("sentences", marks=pytest.mark.slow)])
def test_two_processes_come_to_the_losses_of_one(read: str, corpus: Path, tmp_path: Path) -> None:
    words = (corpus, *SMALL, "--epochs", "2.5", "--read", read)
    process = start(*words, "--out", tmp_path / "two")
    assert app.run(["train", *map(str, words), "--out", str(tmp_path / "one")]) == 0
    said = finish(process)
    assert process.returncode == 0, said
    assert len(re.findall(r"^finished ", said, re.MULTILINE)) == 1, "one speaks for all"
    validated = [[r for r in log_of(tmp_path / name) if "validation_loss" in r] for name in ("one", "two")]
    assert [r["step"] for r in validated[0]] == [r["step"] for r in validated[1]]
    for of_one, of_two in zip(*validated, strict=True):
        assert of_two["validation_loss"] == pytest.approx(of_one["validation_loss"], abs=1e-5)
    first, second = (trained(log_of(tmp_path / name)) for name in ("one", "two"))
    both = set(first) & set(second)
    assert both
    assert {each: second[each] for each in both} == pytest.approx({each: first[each] for each in both}, abs=1e-5)
    assert {p.name for p in (tmp_path / "two").iterdir()} == {p.name for p in (tmp_path / "one").iterdir()}
    weights = [model_directory.load(tmp_path / name).tensors for name in ("one", "two")]
    for name, array in weights[0].items():
        np.testing.assert_allclose(weights[1][name], array, atol=1e-4)


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_process_that_is_killed_ends_the_run_and_another_number_goes_on(
    rank: int, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    process = start(corpus, *SMALL, "--epochs", "400", *OFTEN, "--out", out)
    wait_until(lambda: checkpoint_of(out) > 3)
    began = time.monotonic()
    os.kill(workers_of(process)[rank], signal.SIGKILL)
    said = finish(process)
    assert time.monotonic() - began < SECONDS
    assert process.returncode != 0
    assert "another process of this run has ended" in said or rank == 0, said
    found = model_directory.load_training(out)
    assert found is not None
    steps = found[0]["steps"]
    assert steps > 3
    *_, end = run([], out, DEFAULTS, resume=True, should_stop=lambda: True)
    assert isinstance(end, Stopped)
    assert end.steps == steps + 1, "one process goes on with what two have left"


def test_torchrun_goes_on_by_itself(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    process = start(*(corpus, *SMALL, "--epochs", "6", *OFTEN, "--out", out), torchrun=("--max-restarts=1",))
    wait_until(lambda: checkpoint_of(out) > 3)
    os.kill(workers_of(process)[1], signal.SIGKILL)
    said = finish(process)
    assert process.returncode == 0, said
    assert re.search(r"^resuming    after \d+ steps$", said, re.MULTILINE), said
    assert config_of(out)["training"]["results"]["finished"] is True


@pytest.mark.slow
def test_signals_stop_and_save(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    process = start(*(corpus, *SMALL, "--epochs", "4000", *OFTEN, "--out", out))
    wait_until(lambda: checkpoint_of(out) > 3)
    process.send_signal(signal.SIGTERM)
    said = finish(process)
    steps = checkpoint_of(out)
    assert re.search(r"^stopped     after [\d,]+ steps; .* can be used as it is$", said, re.MULTILINE), said
    assert process.returncode != 0
    assert checkpoint_of(out) > 3
    again = start("--out", out, "--resume", *OFTEN, torchrun=("--nproc-per-node=3",))  # with more processes than before
    wait_until(lambda: checkpoint_of(out) > steps + 3)
    again.send_signal(signal.SIGINT)
    said = finish(again)
    assert re.search(r"^resuming    after [\d,]+ steps$", said, re.MULTILINE), said


# What each takes


@pytest.mark.parametrize(("size", "count"), [(7, 2), (8, 3), (2, 5)])
def test_parts_are_the_batch(size: int, count: int) -> None:
    generator = np.random.default_rng(1)
    lengths = generator.integers(1, 5, size)
    ids = generator.integers(0, 9, (2, 4, size))
    batch = Batch(ids[0], ids[1], lengths, starts=True)
    all_ = [Ranks(rank, count) for rank in range(count)]
    parts = [ranks.part(batch) for ranks in all_]
    assert sum(share for _, share in parts) == pytest.approx(1)
    counted = [part for part, share in parts if share]
    np.testing.assert_array_equal(np.concatenate([part.inputs for part in counted], axis=1), batch.inputs)
    np.testing.assert_array_equal(np.concatenate([part.targets for part in counted], axis=1), batch.targets)
    assert all(part.tokens > 0 for part, _ in parts), "even who has nothing to learn takes part"
    state = torch.arange(3.0 * size).reshape(3, size, 1)
    for whole in (state, (state, -state)):
        shared = [ranks.part_of_state(whole) for ranks in all_]
        again = joined_states([each for each, (_, share) in zip(shared, parts, strict=True) if share])
        for part, expected in zip(*(x if isinstance(x, tuple) else (x,) for x in (again, whole)), strict=True):
            assert torch.equal(part, expected)


def test_one_process_exchanges_nothing() -> None:
    ranks = Ranks()
    assert ranks.sums(1.5, 2) == [1.5, 2]
    assert ranks.from_first(lambda: "made") == "made"
    assert ranks.gathered("mine") == ["mine"]
    assert ranks.is_first


def test_an_environment_that_is_none_of_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(
        UsageError, match="WORLD_SIZE is 2, but RANK and LOCAL_RANK are missing: start the run by torchrun"
    ):
        joined().__enter__()


def test_what_ends_a_run_is_told_even_if_its_processes_cannot_part(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)

    def destroy() -> None:
        raise RuntimeError("NCCL error: remote process exited")

    monkeypatch.setattr(joining, "rendezvous", lambda url: iter([(HashStore(), 0, 2)]))
    monkeypatch.setattr(joining, "start_of_all", lambda *_: "name")
    monkeypatch.setattr(distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(distributed, "new_group", lambda **_: None)
    monkeypatch.setattr(distributed, "destroy_process_group", destroy)
    with pytest.raises(TrainingError, match="another process"), joined():
        raise TrainingError("another process of this run has ended")
    with pytest.raises(RuntimeError, match="NCCL error"), joined():
        pass


@pytest.mark.slow
def test_fewer_streams_than_processes_are_refused(corpus: Path, tmp_path: Path) -> None:
    process = start(corpus, *SMALL, "--batch", "1", "--epochs", "1", "--out", tmp_path / "model")
    said = finish(process)
    assert process.returncode != 0
    assert said.count("the batch has 1 streams for 2 processes: give a larger --batch") == 2


def test_names_of_a_start_differ_and_all_have_them() -> None:
    store = HashStore()
    names = []
    for _ in range(2):
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda rank: start_of_all(store, rank, 3), (2, 1, 0)))
        assert len(set(found)) == 1
        names.append(found[0])
    assert names[0] != names[1]


def test_what_one_has_read_the_others_must_have_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        distributed, "all_gather_object", lambda found, own, group: found.__setitem__(slice(None), [("a", None), own])
    )
    Ranks(1, 2).agree("a")
    with pytest.raises(UsageError, match="process 1 reads another text than the first"):
        Ranks(1, 2).agree("b")
    failure = UsageError("unreadable")
    with pytest.raises(UsageError, match="unreadable"):
        Ranks(1, 2).agree("", failure)
    with pytest.raises(UsageError, match="unreadable"):
        Ranks().agree("", failure)
