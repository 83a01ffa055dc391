"""The benchmark of scoring measures what it says: the same log-probabilities on all sides, timed in turns."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import measuring
import score
from decoding import memory, pytorch_scorer, scorer
from decoding.agreement import check_scorers
from decoding.model import Model, initial_weights
from decoding.pytorch_scorer import PyTorchScorer, Variant
from decoding.scorer import Doubles, Ids, OurScorer, PeerScorer, batches, middle, random_sentences
from decoding.timing import scoring_race
from steps.agreement import DisagreementError
from steps.task import Tensors

CELLS = ("tanh", "gru", "lstm")
REASON = "ONNX Runtime is not installed; it comes with the extra bench"
SENTENCES = 40


def model_of(cell: str) -> Model:
    return Model(cell, vocabulary=19, hidden=5, layers=2)


def weights_of(model: Model) -> Tensors:
    """All different and larger than those of a new network, the biases too: no gate can pass for another."""
    generator = np.random.default_rng(3)
    tensors = initial_weights(model)
    return {name: generator.normal(0, 0.7, array.shape).astype(np.float32) for name, array in tensors.items()}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small batches, no pauses, and torch left with the threads that it had."""
    monkeypatch.setattr(measuring, "MOST_RESTS", 0)
    monkeypatch.setattr(pytorch_scorer, "BATCH_SIZES", (7, 64))
    monkeypatch.setattr(pytorch_scorer, "ROWS_AT_ONCE", 50)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("cell", CELLS)
def test_every_way_in_pytorch_has_the_same_scores(cell: str) -> None:
    model = model_of(cell)
    weights, sentences = weights_of(model), random_sentences(model, SENTENCES)
    ours = OurScorer(model, weights, 1)
    for variant in pytorch_scorer.variants():
        check_scorers(ours, PyTorchScorer(model, weights, variant, 1), sentences)


@pytest.mark.parametrize("cell", CELLS)
def test_every_way_in_onnx_has_the_same_scores(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason=REASON)
    pytest.importorskip("onnx", reason=REASON)
    from decoding import onnx_scorer

    monkeypatch.setattr(onnx_scorer, "BATCH_SIZES", (7, 64))
    model = model_of(cell)
    weights, sentences = weights_of(model), random_sentences(model, SENTENCES)
    ours = OurScorer(model, weights, 1)
    for variant in onnx_scorer.variants():
        check_scorers(ours, onnx_scorer.OnnxScorer(model, weights, variant, 2), sentences)


@pytest.mark.parametrize("name", ["recurrent.bias_ih_l1", "recurrent.weight_hh_l0", "embedding.weight"])
def test_other_weights_are_a_disagreement(name: str) -> None:
    model = model_of("gru")
    weights = dict(weights_of(model))
    changed = weights | {name: weights[name] * np.float32(1.01)}
    with pytest.raises(DisagreementError, match=r"sentence \d+ of 40: ours has log-probability -\d+\.\d+, pytorch"):
        check_scorers(
            OurScorer(model, weights, 1),
            PyTorchScorer(model, changed, Variant(), 1),
            random_sentences(model, SENTENCES),
        )


class Backwards(PyTorchScorer):
    """Hands its scores over in another order."""

    def score(self, sentences: Sequence[Ids]) -> Doubles:
        return super().score(sentences)[::-1]


class Broken(PyTorchScorer):
    """Has one score that is not a number."""

    def score(self, sentences: Sequence[Ids]) -> Doubles:
        scores = super().score(sentences)
        scores[3] = np.nan
        return scores


@pytest.mark.parametrize(("kind", "where"), [(Backwards, r"sentence \d+"), (Broken, "sentence 3")])
def test_scores_at_other_places_or_none_are_a_disagreement(kind: type[PyTorchScorer], where: str) -> None:
    model = model_of("lstm")
    weights = weights_of(model)
    with pytest.raises(DisagreementError, match=where):
        check_scorers(
            OurScorer(model, weights, 1), kind(model, weights, Variant(), 1), random_sentences(model, SENTENCES)
        )


def test_ours_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("lstm")
    ours, sentences = OurScorer(model, weights_of(model), 1), random_sentences(model, SENTENCES)
    whole = ours.score(sentences)
    monkeypatch.setattr(scorer, "LINES_AT_ONCE", 7)
    np.testing.assert_allclose(ours.score(sentences), whole, rtol=1e-6)


def test_sentences_have_all_lengths_and_one_end_of_line() -> None:
    model = model_of("gru")
    sentences = random_sentences(model, 2000)
    assert {len(sentence) for sentence in sentences} == set(range(4, 62))
    assert all(sentence[-1] == 0 and sentence[:-1].all() for sentence in sentences)
    assert max(sentence.max() for sentence in sentences) == 18


def test_batches_hold_every_sentence_once_longest_first() -> None:
    sentences = random_sentences(model_of("gru"), SENTENCES)
    places, parts = zip(*batches(sentences, 16), strict=True)
    assert [len(part) for part in parts] == [16, 16, 8]
    assert sorted(np.concatenate(places).tolist()) == list(range(SENTENCES))
    lengths = [len(sentence) for part in parts for sentence in part]
    assert lengths == sorted(lengths, reverse=True)
    assert all(sentences[place] is sentence for place, sentence in zip(places[1], parts[1], strict=True))


def test_the_middle_is_of_like_length() -> None:
    sentences = [np.zeros(length, np.int64) for length in (9, 1, 8, 2, 7, 3, 6, 4, 5)]
    assert [len(sentence) for sentence in middle(sentences, 3)] == [6, 5, 4]
    assert len(middle(sentences, 100)) == 9


class Clocked(PeerScorer):
    """Takes as long as it says, by a clock of its own making."""

    name = "clocked"

    def __init__(self, clock: list[float], seconds: float, threads: int) -> None:
        self.variant, self.threads, self.batch = str(seconds), threads, 1
        self.clock, self.seconds = clock, seconds
        self.seen: list[Any] = []

    def score(self, sentences: Sequence[Ids]) -> Doubles:
        self.clock[0] += self.seconds * len(sentences)
        self.seen.append((sentences, torch.get_num_threads()))
        return np.zeros(len(sentences))


def test_all_in_turns_with_the_same_part(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    first, second = Clocked(clock, 0.25, 1), Clocked(clock, 0.75, 2)
    sentences = random_sentences(model_of("gru"), SENTENCES)
    parts = [sentences[:20], sentences[20:]]
    result = scoring_race([first, second], parts, rounds=3)
    assert result.rounds == [[0.25, 0.75]] * 3
    assert result.ratio(1).median == 3.0
    for contestant in (first, second):
        (_, *turns) = contestant.seen
        assert [part is parts[index] for (part, _), index in zip(turns, (0, 1, 0), strict=True)] == [True] * 3
        assert {threads for _, threads in contestant.seen} == {contestant.threads}


def test_parts_of_equal_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "SENTENCES_A_TURN", 15)
    sentences = random_sentences(model_of("gru"), SENTENCES)
    assert [len(part) for part in score.parts_of(sentences)] == [15, 15]
    assert [len(part) for part in score.parts_of(sentences[:9])] == [9]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason=REASON)
    pytest.importorskip("onnx", reason=REASON)
    from decoding import onnx_scorer

    monkeypatch.setattr(score, "SHAPES", {"h200": (19, 5, 2), "h650": (23, 6, 1)})
    monkeypatch.setattr(score, "commit", lambda: "of the test")
    monkeypatch.setattr(score, "SENTENCES_A_TURN", 20)
    monkeypatch.setattr(score, "TRIAL_SENTENCES", 10)
    monkeypatch.setattr(onnx_scorer, "BATCH_SIZES", (8, 16))
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})


@pytest.mark.usefixtures("tiny")
def test_the_whole_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int]] = []

    def mebibytes(model: Model, name: str, lines: int, threads: int, engine: str) -> float:
        asked.append((name, lines, threads))
        assert name in memory.makers(threads, engine)
        return 20.0

    monkeypatch.setattr(memory, "in_its_own_process", mebibytes)
    out = tmp_path / "results" / "score.json"
    score.main(["--json", "--sentences", "45", "--rounds", "3", "--out", str(out)])
    record = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == record
    assert record["commit"] == "of the test"
    assert record["command"].startswith("benchmarks/score.py --json --sentences 45")
    assert [(row["shape"], row["threads"]) for row in record["rows"]] == [
        (shape, threads) for shape in ("V 19 H 5 L 2", "V 23 H 6 L 1") for threads in (2, 1)
    ]
    for row in record["rows"]:
        for name in ("ours", "pytorch", "onnxruntime"):
            low, high = row[f"{name}_quartiles_per_second"]
            assert 0 < low <= row[f"{name}_per_second"] <= high
        better = max(("pytorch", "onnxruntime"), key=lambda name: row[f"{name}_per_second"])
        assert row["better_peer"] == better
        low, high = row["ratio_quartiles"]
        assert 0 < low <= row["ratio"] <= high
        assert row["sentences_a_turn"] == 20
    assert [aim["at_least"] for aim in record["targets"]] == [2.0, 2.0, 1.5, 1.5]
    assert record["memory"]["shape"] == "V 19 H 5 L 2"
    assert [(lines, threads) for _, lines, threads in asked] == [(10_000, 2), (40_000, 2), (20, 2), (20, 2)]
    assert "| unrolled | 40,000 | 20 |" in score.table(record)


@pytest.mark.usefixtures("tiny")
def test_chosen_rows_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "score.json"
    words = ["--cell", "gru", "--shape", "h650", "--rounds", "2", "--threads", "1", "--engine", "portable"]
    score.main([*words, "--sentences", "20", "--out", str(out)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| gru | V 23 H 6 L 1 | 1 |")
    assert lines[4].startswith("Targets missed: ")
    assert len(lines) == 5
    assert "memory" not in json.loads(out.read_text())


@pytest.mark.usefixtures("tiny")
def test_a_disagreement_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(score, "PyTorchScorer", Backwards)
    out = tmp_path / "score.json"
    with pytest.raises(SystemExit, match=r"error: sentence \d+ of 20"):
        score.main(["--shape", "h200", "--sentences", "20", "--threads", "1", "--out", str(out)])
    assert not out.exists()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is told by Linux alone")
def test_rise_of_peak_memory() -> None:
    class Hungry(Clocked):
        def score(self, sentences: Sequence[Ids]) -> Doubles:
            np.ones(10**6 * len(sentences), np.uint8)
            return super().score(sentences)

    rise = memory.rise(lambda model: Hungry([0.0], 0.0, 1), replace(model_of("gru"), vocabulary=50), 60)
    assert 59e6 < rise < 66e6


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is told by Linux alone")
def test_memory_is_measured_in_another_process() -> None:
    pytest.importorskip("onnxruntime", reason=REASON)
    pytest.importorskip("onnx", reason=REASON)
    figures = memory.figures(model_of("gru"), {memory.OURS: [30]}, 1, "portable")
    assert 0 <= figures["rise_mebibytes"]["unrolled"]["30"] < 50
    assert figures["shape"] == "V 19 H 5 L 2"


def test_onnx_runtime_that_is_not_installed_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(score, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        score.main([])
    assert "pip install onnxruntime onnx" in capsys.readouterr().err
