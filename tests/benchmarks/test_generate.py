"""The benchmark of writing measures what it says: the same distributions on all sides, timed in turns."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import generate
import measuring
from decoding import pytorch_writer, timing
from decoding.agreement import check_writers
from decoding.model import Model, initial_weights
from decoding.pytorch_writer import PyTorchWriter, Variant
from decoding.timing import Race, fastest, race, turn
from decoding.writer import FIRST, Doubles, OurWriter, Tokens, Writer
from steps.agreement import DisagreementError
from steps.task import Tensors

CELLS = ("tanh", "gru", "lstm")
LARGE = 3.0
"""Weights of this size make greedy choices that differ from step to step."""
REASON = "ONNX Runtime is not installed; it comes with the extra bench"


def model_of(cell: str) -> Model:
    return Model(cell, vocabulary=19, hidden=5, layers=2)


def weights_of(model: Model, scale: float = 0.7) -> Tensors:
    """All different and larger than those of a new network, the biases too: no gate can pass for another."""
    generator = np.random.default_rng(3)
    tensors = initial_weights(model)
    return {name: generator.normal(0, scale, array.shape).astype(np.float32) for name, array in tensors.items()}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short turns and trials, a small array to read, and torch left with the threads that it had."""
    monkeypatch.setattr(timing, "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(timing, "TURN_SECONDS", 0.001)
    monkeypatch.setattr(measuring, "MOST_RESTS", 0)
    monkeypatch.setattr(measuring, "READ_BYTES", 2**18)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("variant", list(pytorch_writer.variants(2)), ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_every_way_in_pytorch_has_the_same_distributions(cell: str, variant: Variant) -> None:
    model = model_of(cell)
    weights = weights_of(model)
    check_writers(OurWriter(model, weights, 1), PyTorchWriter(model, weights, variant))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.parametrize("variant", list(pytorch_writer.compiled_variants(1)), ids=str)
def test_every_compiled_way_in_pytorch_has_the_same_distributions(variant: Variant) -> None:
    model = model_of("lstm")
    weights = weights_of(model)
    check_writers(OurWriter(model, weights, 1), PyTorchWriter(model, weights, variant))


@pytest.mark.parametrize("way", [pytorch_writer.MODULE, pytorch_writer.CELLS])
@pytest.mark.parametrize("draw", pytorch_writer.DRAWS)
def test_pytorch_draws_from_the_distribution(draw: pytorch_writer.Choice, way: str) -> None:
    model = Model("gru", vocabulary=4, hidden=5, layers=1)
    writer = PyTorchWriter(model, weights_of(model), Variant(way, choose=draw))
    torch.manual_seed(1)
    first = [int(writer.generate(1)[0]) for _ in range(2000)]
    expected = np.exp(writer.log_probabilities(np.array([FIRST]))[0])
    np.testing.assert_allclose(np.bincount(first, minlength=4) / 2000, expected, atol=0.05)  # five standard deviations


@pytest.mark.parametrize("cell", CELLS)
def test_every_way_in_onnx_has_the_same_distributions(cell: str) -> None:
    pytest.importorskip("onnxruntime", reason=REASON)
    pytest.importorskip("onnx", reason=REASON)
    from decoding.onnx_writer import OnnxWriter, variants

    model = model_of(cell)
    weights = weights_of(model)
    ours = OurWriter(model, weights, 1)
    for variant in variants(2):
        check_writers(ours, OnnxWriter(model, weights, variant))


def test_onnx_starts_anew_at_every_call() -> None:
    pytest.importorskip("onnxruntime", reason=REASON)
    pytest.importorskip("onnx", reason=REASON)
    from decoding.onnx_writer import OnnxWriter, variants

    model = model_of("gru")
    for variant in variants(1):
        writer = OnnxWriter(model, weights_of(model, LARGE), variant)
        tokens = writer.generate(7)
        assert (writer.generate(8)[:7] == tokens).all()
        assert len(set(tokens.tolist())) > 1


def test_variants_with_one_thread_have_no_other() -> None:
    assert {variant.threads for variant in pytorch_writer.variants(1)} == {1}
    assert len({str(variant) for variant in pytorch_writer.variants(2)}) == 12


@pytest.mark.parametrize("name", ["recurrent.bias_hh_l1", "recurrent.weight_hh_l1", "output.weight"])
def test_other_weights_are_a_disagreement(name: str) -> None:
    model = model_of("gru")
    weights = dict(weights_of(model))
    changed = weights | {name: weights[name] * np.float32(1.01)}
    with pytest.raises(DisagreementError, match=r"log-probabilities: ours differ from pytorch .* by 0\.0"):
        check_writers(OurWriter(model, weights, 1), PyTorchWriter(model, changed, Variant()))


class Forgetful(PyTorchWriter):
    """Begins anew with every token that it writes."""

    def generate(self, count: int) -> Tokens:
        tokens = super().generate(1)
        while len(tokens) < count:
            tokens = np.append(tokens, self.log_probabilities(tokens[-1:]).argmax(axis=1))
        return tokens


def test_a_state_that_is_not_carried_is_a_disagreement() -> None:
    model = model_of("gru")
    weights = weights_of(model, LARGE)
    assert len(set(PyTorchWriter(model, weights, Variant()).generate(20).tolist())) > 2
    with pytest.raises(DisagreementError, match="its best token is not the most probable one"):
        check_writers(OurWriter(model, weights, 1), Forgetful(model, weights, Variant()))


def test_other_draws_are_a_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("lstm")
    weights = weights_of(model)
    ours = OurWriter(model, weights, 1)
    draw = ours.draw

    def colder(count: int, generator: np.random.Generator) -> Tokens:
        return np.sort(draw(count, generator))

    monkeypatch.setattr(ours, "draw", colder)
    with pytest.raises(DisagreementError, match="draws: ours differ from pytorch"):
        check_writers(ours, PyTorchWriter(model, weights, Variant()))


def test_ours_writes_other_tokens_at_every_call() -> None:
    model = model_of("lstm")
    writer = OurWriter(model, weights_of(model), 1)
    first, second = writer.generate(20), writer.generate(20)
    assert first.shape == (20,)
    assert (first != second).any()


def test_weight_bytes_by_hand() -> None:
    first = 3 * 5 + 3 * 5 * 5  # a row of the table, and the recurrent weights
    second = 3 * 5 * 5 + 3 * 5 * 5 + 3 * 5
    output = 19 * 5 + 19
    assert model_of("gru").weight_bytes == 4 * (first + second + output)
    assert Model("lstm", 65, 128, 1).weight_bytes == 4 * (512 + 512 * 128 + 65 * 128 + 65)


class Doubtful(PyTorchWriter):
    """Is a little less sure of everything."""

    def log_probabilities(self, tokens: Tokens) -> Doubles:
        return super().log_probabilities(tokens) - 2e-4


class Clocked(Writer):
    """Takes as long as it says, by a clock of its own making."""

    name = "clocked"

    def __init__(self, clock: list[float], seconds: float, threads: int = 1) -> None:
        self.variant, self.threads, self.clock, self.seconds = str(seconds), threads, clock, seconds
        self.counts: list[int] = []
        self.seen_threads: set[int] = set()

    def generate(self, count: int) -> Tokens:
        self.clock[0] += count * self.seconds
        self.counts.append(count)
        self.seen_threads.add(torch.get_num_threads())
        return np.zeros(count, np.int64)

    def log_probabilities(self, tokens: Tokens) -> Doubles:
        return np.zeros((len(tokens), 1))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


def test_a_turn_does_not_time_its_first_tokens(clock: list[float]) -> None:
    writer = Clocked(clock, 0.25)
    assert turn(writer, 3) == 0.25
    assert writer.counts == [timing.WARM_TOKENS, 3]


def test_three_in_turns_each_with_its_threads(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "TURN_SECONDS", 0.01)
    writers = [Clocked(clock, 0.002), Clocked(clock, 0.006, threads=2), Clocked(clock, 0.02)]
    result = race(writers, rounds=4)
    assert [writer.counts[-1] for writer in writers] == [5, 2, 1]
    assert [writer.seen_threads for writer in writers] == [{1}, {2}, {1}]
    assert len(result.rounds) == 4
    assert result.seconds(1) == pytest.approx((0.006, 0.006, 0.006))
    assert result.ratio(2) == pytest.approx((10, 10, 10))


def test_ratios_are_formed_within_a_round() -> None:
    result = Race([[1.0, 2.0], [10.0, 20.0], [2.0, 6.0]])
    assert result.ratio(1).median == 2.0
    assert result.seconds(1).median == 6.0


def test_the_fastest_is_chosen_and_a_failed_attempt_told(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    def maker(seconds: float) -> Callable[[], Writer]:
        return lambda: Clocked(clock, seconds)

    def fail() -> Writer:
        raise RuntimeError("no compiler\nat all")

    makers = [maker(seconds) for seconds in (0.5, 0.2, 0.3)]
    assert fastest(makers, timing.trial, [fail]).variant == "0.2"
    assert "no compiler" in capsys.readouterr().err
    assert fastest(makers, timing.trial, [maker(0.1)]).variant == "0.1"
    with pytest.raises(RuntimeError, match="no compiler"):
        fastest([fail], timing.trial)


def test_bandwidth_and_last_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert min(measuring.read_bandwidths().values()) > 0
    for index, size in enumerate(("32K", "1024K", "33792K")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(size + "\n")
    monkeypatch.setattr(measuring, "CPU_CACHES", tmp_path)
    assert measuring.last_cache_bytes() == 33792 * 1024
    monkeypatch.setattr(measuring, "CPU_CACHES", tmp_path / "none")
    assert measuring.last_cache_bytes() is None


def test_targets_by_size() -> None:
    row = {"cell": "gru", "shape": "", "pytorch_ratio": 11.0, "onnxruntime_ratio": 2.0, "bandwidth_share": 0.89}
    small, middle, large = (generate.targets(row | {"weight_bytes": size}) for size in (10**5, 10**7, 10**8))
    assert [(aim["figure"], aim["met"]) for aim in small] == [("pytorch_ratio", True), ("onnxruntime_ratio", False)]
    assert [(aim["figure"], aim["met"]) for aim in middle] == [("onnxruntime_ratio", True)]
    assert [(aim["figure"], aim["met"]) for aim in large] == [("bandwidth_share", False)]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason=REASON)
    pytest.importorskip("onnx", reason=REASON)
    monkeypatch.setattr(generate, "SHAPES", {"a": (19, 5, 2), "b": (11, 6, 1)})
    monkeypatch.setattr(generate, "CELLS", ("gru", "lstm"))
    monkeypatch.setattr(generate, "commit", lambda: "of the test")
    monkeypatch.setattr(pytorch_writer, "variants", lambda threads: [Variant(), Variant(pytorch_writer.CELLS)])
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0})  # one thread, whatever else runs here


@pytest.mark.usefixtures("tiny")
def test_the_whole_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results" / "generate.json"
    generate.main(["--json", "--rounds", "3", "--out", str(out)])
    record = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == record
    assert record["commit"] == "of the test"
    assert record["command"].startswith("benchmarks/generate.py --json --rounds 3")
    assert [(row["cell"], row["shape"]) for row in record["rows"]] == [
        (cell, shape) for shape in ("V 19 H 5 L 2", "V 11 H 6 L 1") for cell in ("gru", "lstm")
    ]
    bandwidth = max(record["bandwidth_gigabytes"].values()) * 1e9
    for row in record["rows"]:
        for name in ("ours", "pytorch", "onnxruntime"):
            low, high = row[f"{name}_quartiles_us"]
            assert 0 < low <= row[f"{name}_us"] <= high
        low, high = row["pytorch_ratio_quartiles"]
        assert 0 < low <= row["pytorch_ratio"] <= high
        assert row["pytorch_variant"] in {str(variant) for variant in pytorch_writer.variants(1)}
        share = row["weight_bytes"] / (row["ours_us"] / 1e6) / bandwidth
        assert row["bandwidth_share"] == pytest.approx(share, rel=0.02, abs=1e-4)
    assert [aim["figure"] for aim in record["targets"]] == ["pytorch_ratio", "onnxruntime_ratio"] * 4


@pytest.mark.usefixtures("tiny")
def test_chosen_rows_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "generate.json"
    words = ["--cell", "gru", "--shape", "b", "--rounds", "2", "--engine", "portable", "--out", str(out)]
    generate.main(words)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| gru | V 11 H 6 L 1 | 0.00 |")
    assert lines[4].startswith("Memory bandwidth, GB/s: ")
    assert lines[5].startswith("Targets missed: ")
    assert json.loads(out.read_text())["machine"]["engine"].startswith("portable")


@pytest.mark.usefixtures("tiny")
def test_a_disagreement_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(generate, "PyTorchWriter", Doubtful)
    out = tmp_path / "generate.json"
    with pytest.raises(SystemExit, match="error: log-probabilities: ours differ from pytorch"):
        generate.main(["--cell", "gru", "--shape", "a", "--out", str(out)])
    assert not out.exists()


def test_onnx_runtime_that_is_not_installed_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        generate.main([])
    assert "pip install onnxruntime onnx" in capsys.readouterr().err
