"""Pairs, and what a translator that was trained on them answers: searches, scores, alignments, evaluations."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import model_directory
from unrolled.errors import CorpusError, ModelDirectoryError, UsageError
from unrolled.models.examples import encode_texts
from unrolled.models.predictor import PredictionSettings
from unrolled.models.rows import ExampleSettings
from unrolled.models.task import SavedData
from unrolled.models.translate import TASK, TranslationSettings
from unrolled.models.translate.answers import Output, PairScore, Translation, TranslatorResult
from unrolled.models.translate.data import LEAST_OFTEN, TranslationData
from unrolled.models.translate.predictor import Translator
from unrolled.nn.beam_search import Hypothesis
from unrolled.text.settings import TextSettings
from unrolled.training.settings import Settings, TrainingSettings

KINDS = ("words", "shared", "backwards", "plain")
LINES = [
    "Zoë sees a cat.",
    "Mr7 doesn't see 日本",
    "x",
    "Anna May sees the café , again !",
    "?? unheard of words",
    "Zoë sees a cat sees a cat sees a cat sees a cat sees a cat .",
]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def translator(sequence_model: Callable[[str], Path]) -> Callable[..., Translator]:
    def load(kind: str, engine: str = "auto") -> Translator:
        return Translator.load(sequence_model(kind), engine=engine)

    return load


def log_probability(translator: Translator, source: str, tokens: tuple[int, ...], *, ends: bool = True) -> float:
    """Of the tokens of an output, by the network alone, in float64."""
    network, end = translator._network, translator.target_tokenizer.end_of_line_id
    (ids,) = encode_texts(translator.tokenizer, [source])
    inputs = torch.tensor([end, *tokens][: len(tokens) + ends])[:, None]
    with torch.no_grad():
        read = torch.from_numpy(ids.astype(np.int64))[:, None], torch.tensor([len(ids)])
        logs = network.log_probabilities(network(*read, inputs).vectors)[:, 0].double()
    return float(sum(logs[step, token] for step, token in enumerate((*tokens, end)[: len(inputs)])))


# Searches


@each_kind
def test_a_width_of_one_is_greedy(kind: str, translator: Callable[..., Translator]) -> None:
    model = translator(kind)
    network, end = model._network, model.target_tokenizer.end_of_line_id
    for line, answer in zip(LINES, model.translate(LINES, beam=1, most_output=12), strict=True):
        (ids,) = encode_texts(model.tokenizer, [line])
        tokens: list[int] = []
        with torch.no_grad():
            source, state = network.read(torch.from_numpy(ids.astype(np.int64))[:, None], torch.tensor([len(ids)]))
            token, total = end, 0.0
            while len(tokens) < 12:
                decoded = network.decoder(torch.tensor([[token]]), state, source)
                state, logs = decoded.state, network.log_probabilities(decoded.vectors[0, 0])
                token = int(logs.argmax())
                total += float(logs[token])
                if token == end:
                    break
                tokens.append(token)
        (output,) = answer.outputs
        assert output.is_complete == (token == end)
        assert output.log_probability == pytest.approx(total, rel=1e-5)
        length = len(tokens) + output.is_complete
        assert output.score == pytest.approx(output.log_probability / ((5 + length) / 6), rel=1e-6)
        if model.target_tokenizer.unknown_id not in tokens:
            assert output.text == model.target_tokenizer.decode(tokens)
        assert len(output.tokens) == len(tokens)


def test_a_beam_as_wide_as_the_space_is_exhaustive_search(tmp_path: Path) -> None:
    """All outputs of up to three tokens of a vocabulary of five, their ends included, with the network itself."""
    path = tmp_path / "pairs.tsv"
    model = trained(tmp_path, "a b\tx y\nb a\ty x\na a\tx z\n" * 20 + "b\tz\n" * 3, validation=str(path))
    size, end = model.target_tokenizer.vocabulary_size, model.target_tokenizer.end_of_line_id
    assert size == 5
    most, words = 3, [token for token in range(size) if token != end]
    for line in ("a b", "b b a a b", "q"):
        scored = {}
        for length in range(most):
            for tokens in itertools.product(words, repeat=length):
                scored[tokens] = log_probability(model, line, tokens)
        for penalty in (0.0, 1.0):
            (answer,) = model.translate(
                [line], beam=size**most, best=len(scored), most_output=most, length_penalty=penalty
            )
            complete = [output for output in answer.outputs if output.is_complete]
            assert len(complete) == len(scored) == 21
            wanted = sorted((logs / ((6 + len(key)) / 6) ** penalty for key, logs in scored.items()), reverse=True)
            assert [output.score for output in complete] == pytest.approx(wanted, rel=1e-5)
            best = max(scored, key=lambda key: scored[key] / ((6 + len(key)) / 6) ** penalty)
            assert [model.target_tokenizer.token(n) for n in best] == list(complete[0].tokens)


@each_kind
def test_outputs_are_sorted_different_and_as_probable_as_they_are_said_to_be(
    kind: str, translator: Callable[..., Translator]
) -> None:
    model = translator(kind)
    for line, answer in zip(LINES, model.translate(LINES, beam=6, best=4, most_output=15), strict=True):
        assert answer.source == line
        assert 1 <= len(answer.outputs) <= 4
        assert answer.text == answer.outputs[0].text
        order = [(not output.is_complete, -output.score) for output in answer.outputs]
        assert order == sorted(order)
        assert len({output.tokens for output in answer.outputs}) == len(answer.outputs)
        for output in answer.outputs:
            known = {model.target_tokenizer.token(n): n for n in range(model.target_tokenizer.vocabulary_size)}
            if model.target_tokenizer.unit == "word":
                tokens = tuple(known[token] for token in output.tokens)
                expected = log_probability(model, line, tokens, ends=output.is_complete)
                assert output.log_probability == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_the_score_of_an_output_is_its_log_probability(translator: Callable[..., Translator]) -> None:
    seen = 0
    for kind in ("words", "backwards"):
        model = translator(kind)
        for line, answer in zip(LINES, model.translate(LINES, beam=4, best=4), strict=True):
            for output in answer.outputs:
                if not output.is_complete or not output.tokens or "<unk>" in output.tokens:
                    continue
                ids = model.target_tokenizer.encode(output.text)
                if [model.target_tokenizer.token(n) for n in ids] != list(output.tokens):
                    continue  # what is written reads back as other tokens
                (score,) = model.score([(line, output.text)])
                assert score.log_probability == pytest.approx(output.log_probability, rel=1e-5, abs=1e-5)
                seen += 1
    assert seen >= 10


@each_kind
@pytest.mark.parametrize("batch", [1, 4])
def test_answers_do_not_depend_on_what_stands_beside(
    kind: str, batch: int, translator: Callable[..., Translator]
) -> None:
    model = translator(kind)
    options: dict[str, Any] = {"best": 3, "most_output": 15}
    usual = model.translate(LINES, **options)
    pairs = [(line, answer.text or "x") for line, answer in zip(LINES, usual, strict=True)]
    scores = model.score([(source, target) for source, target in pairs if target.strip()])
    again = model.score([(source, target) for source, target in pairs if target.strip()], batch=batch)
    expected = [score.log_probability for score in scores]
    assert [score.log_probability for score in again] == pytest.approx(expected, rel=1e-6)
    for lines in (LINES, LINES[::-1]):
        for answer in model.translate(lines, batch=batch, **options):
            same = usual[LINES.index(answer.source)]
            assert [output.text for output in answer.outputs] == [output.text for output in same.outputs]
            for one, other in zip(answer.outputs, same.outputs, strict=True):
                assert one.score == pytest.approx(other.score, rel=1e-6)
                assert one.log_probability == pytest.approx(other.log_probability, rel=1e-6)
                if one.alignment is not None:
                    assert other.alignment is not None
                    np.testing.assert_allclose(one.alignment, other.alignment, atol=1e-6)


@each_kind
def test_engines_agree(kind: str, translator: Callable[..., Translator]) -> None:
    pairs = zip(
        translator(kind).translate(LINES, most_output=9),
        translator(kind, "portable").translate(LINES, most_output=9),
        strict=True,
    )
    for one, other in pairs:
        assert one.text == other.text
        assert one.outputs[0].score == pytest.approx(other.outputs[0].score, rel=1e-5)


def test_nothing_to_translate_and_longest_outputs(translator: Callable[..., Translator]) -> None:
    model = translator("words")
    assert model.translate([]) == []
    assert model.score([]) == []
    (cut,) = model.translate(["Zoë sees a cat."], most_output=1, beam=1)
    assert len(cut.outputs[0].steps) == 1
    assert not cut.outputs[0].is_complete
    assert cut.outputs[0].steps == cut.outputs[0].tokens
    endless = translator("plain")
    with torch.no_grad():
        endless._network.output.bias[endless.target_tokenizer.end_of_line_id] = -1e9
    lengths = [len(each.outputs[0].tokens) for each in endless.translate(["abc", "a" * 150], beam=1)]
    assert lengths == [200, 302], "twice the line and its end"


def test_newlines_in_a_line_are_blanks(translator: Callable[..., Translator]) -> None:
    one, other = translator("words").translate(["Zoë sees\na cat.", "Zoë sees a cat."])
    assert one.text == other.text


# Alignments and unknown words


@pytest.mark.parametrize("kind", ["words", "shared", "backwards"])
def test_alignments_are_what_the_network_looked_at_in_the_sources_order(
    kind: str, translator: Callable[..., Translator]
) -> None:
    model = translator(kind)
    network = model._network
    for answer in model.translate(LINES, most_output=10):
        output = answer.outputs[0]
        (ids,) = encode_texts(model.tokenizer, [answer.source])
        assert len(answer.source_tokens) == len(ids)
        assert answer.source_tokens[-1] == "⏎"
        assert output.alignment is not None
        assert output.alignment.shape == (len(output.steps), len(ids))
        np.testing.assert_allclose(output.alignment.sum(1), 1, atol=1e-5)
        if model.target_tokenizer.unit != "word":
            continue
        known = {model.target_tokenizer.token(n): n for n in range(model.target_tokenizer.vocabulary_size)}
        tokens = [model.target_tokenizer.end_of_line_id, *(known[token] for token in output.tokens)]
        inputs = torch.tensor(tokens[: len(output.steps)])[:, None]
        with torch.no_grad():
            read = torch.from_numpy(ids.astype(np.int64))[:, None], torch.tensor([len(ids)])
            weights = network(*read, inputs).weights[:, 0].numpy()
        expected = weights[:, ::-1] if kind == "backwards" else weights
        np.testing.assert_allclose(output.alignment, expected, atol=1e-5)


def test_without_attention_there_is_no_alignment(translator: Callable[..., Translator]) -> None:
    model = translator("plain")
    (answer,) = model.translate(["Zoë sees"], most_output=5)
    assert answer.outputs[0].alignment is None
    for alignment in ("-", "folder"):
        with pytest.raises(UsageError, match=r"^--alignment: this model has no attention, so that there is nothing to"):
            model.answers(["Zoë sees"], PredictionSettings(alignment=alignment))


def found(model: Translator, words: list[str | int], looked: list[int], length: int) -> Hypothesis:
    """An output that looked at one source token for each of its own."""
    ids = [word if isinstance(word, int) else model.target_tokenizer.tokens.index(word) for word in words]
    weights = torch.eye(length)[looked] * 0.6 + 0.4 / length
    return Hypothesis(tuple(ids), -1.0, -1.0, True, tuple(weights))


def test_unknown_words_are_those_of_the_source_that_were_looked_at_most(translator: Callable[..., Translator]) -> None:
    model = translator("words")
    line = "Ödön sees  the Kühlschrank."
    (ids,) = encode_texts(model.tokenizer, [line])
    assert model.tokenizer.surfaces(line) == ["Ödön", "sees", "the", "Kühlschrank", "."]
    answer = model._translation(
        line, ids, [found(model, [0, "sieht", 0, 0], [3, 1, 0, 5, 5], 6), found(model, ["Zoë", 0], [0, 2, 5], 6)]
    )
    one, other = answer.outputs
    assert one.text == "Kühlschrank sieht Ödön Ödön", "the end is no word: the next best is the first of equals"
    assert one.tokens == ("<unk>", "sieht", "<unk>", "<unk>")
    assert other.text == "Zoë the"


def test_a_source_word_that_looks_like_the_unknown_one_does_no_harm(translator: Callable[..., Translator]) -> None:
    model = translator("words")
    (ids,) = encode_texts(model.tokenizer, ["one two"])
    model.tokenizer.surfaces = lambda text: ["<unk>", "two"]  # type: ignore[method-assign]
    answer = model._translation("one two", ids, [found(model, [0, 0], [0, 1, 2], 3)])
    assert answer.text == "<unk> two"


def test_reversed_sources_are_looked_at_in_their_own_order(translator: Callable[..., Translator]) -> None:
    model = translator("backwards")
    (ids,) = encode_texts(model.tokenizer, ["Ödön sees Kühlschrank"])
    answer = model._translation("Ödön sees Kühlschrank", ids, [found(model, [0, "sieht", 0], [3, 2, 1, 0], 4)])
    assert answer.text == "Ödön sieht Kühlschrank", "the network reads the end first and the first word last"


def test_with_a_vocabulary_that_knows_all_or_without_attention_nothing_is_replaced(
    translator: Callable[..., Translator],
) -> None:
    plain = translator("plain")
    assert plain._written(np.array([0, 2]), ["a"], None) == plain.target_tokenizer.decode([0, 2])
    assert plain.target_tokenizer.decode([0]) == "<unk>"
    shared = translator("shared")
    (ids,) = encode_texts(shared.tokenizer, ["<unk> a"])
    assert shared.tokenizer.unknown_id is None
    assert shared._translation("<unk> a", ids, [found(shared, [0], [0, 1], len(ids))]).text == "!"


# Scores, answers and evaluations


@each_kind
def test_scores_are_sums_of_log_probabilities(kind: str, translator: Callable[..., Translator]) -> None:
    model = translator(kind)
    pairs = [("Zoë sees a cat.", "Katze Zoë sieht."), ("x", "unerhört 日本"), ("Anna May", "y")]
    lines = [f"{source}\t{target}" for source, target in pairs]
    for (source, target), score in zip(pairs, model.scores(lines), strict=True):
        tokens = tuple(int(n) for n in model.target_tokenizer.encode(target))
        assert score.tokens == len(tokens) + 1
        assert score.log_probability == pytest.approx(log_probability(model, source, tokens), rel=1e-5)
        assert score.perplexity == pytest.approx(math.exp(-score.log_probability / score.tokens), rel=1e-9)
        assert score.lines() == [f"{score.log_probability:.4f}\t{score.perplexity:.4f}\t{source}\t{target}"]
        assert score.as_dict() == {
            "source": source, "target": target, "tokens": score.tokens,
            "log_probability": score.log_probability, "perplexity": score.perplexity,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no tab", "line 8 has 0 tabs, expected one between source and target: give pairs"),
        ("a\tb\tc", "line 8 has 2 tabs, expected one"),
        ("a\t ", "line 8 is empty: there is nothing to answer, leave it out"),
        (" \tb", "line 8 is empty"),
        ("a\t" + "b " * 1000, r"line 8 has 1,001 tokens, the model reads at most 1,000 \(--most-tokens when it was"),
        ("a " * 1000 + "\tb", "line 8 has 1,001 tokens"),
    ],
)
def test_pairs_that_cannot_be_scored_are_counted(
    line: str, message: str, translator: Callable[..., Translator]
) -> None:
    with pytest.raises(CorpusError, match=f"^{message}"):
        translator("words").scores(["fine\tfein", line], first=7)


@pytest.mark.parametrize(
    ("lines", "message"),
    [(["fine", " \t"], "line 8 is empty: there is nothing to answer"), (["a " * 1000], "line 7 has 1,001 tokens")],
)
def test_lines_that_cannot_be_translated_are_counted(
    lines: list[str], message: str, translator: Callable[..., Translator]
) -> None:
    with pytest.raises(CorpusError, match=f"^{message}"):
        translator("words").answers(lines, PredictionSettings(), first=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "beam is 0: give a whole number of at least 1"),
        ({"batch": 0}, "batch is 0: give a whole number of at least 1"),
        ({"best": 0}, "best is 0: give"),
        ({"best": 6}, "best is 6: give at least 1 and at most the width, 5"),
        ({"most_output": 0}, "most_output is 0: give a whole number of at least 1"),
        ({"length_penalty": -1.0}, r"length_penalty is -1\.0: give a number of at least 0"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(
    options: dict[str, Any], message: str, translator: Callable[..., Translator]
) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        translator("words").translate(["a"], **options)


def test_evaluations_are_sacrebleus(
    translator: Callable[..., Translator], sequence_model: Callable[[str], Path]
) -> None:
    import sacrebleu

    model = translator("words")
    path = sequence_model("words").parent / "pairs.tsv"
    pairs = [tuple(line.split("\t")) for line in path.read_text(encoding="utf-8").splitlines()]
    result = model.evaluate([path])
    answers = [answer.text for answer in model.translate([source for source, _ in pairs])]
    wanted = [target for _, target in pairs]
    assert result.chrf == sacrebleu.corpus_chrf(answers, [wanted]).score > 10
    by_source = {source: target if len(source) % 3 else f"Katze {target}" for source, target in pairs}
    said = [Output(by_source[source], (), 0, 0, True) for source, _ in pairs]
    answers = [output.text for output in said]
    with pytest.MonkeyPatch.context() as patch:  # better answers than so small a model gives
        patch.setattr(model, "translate", lambda lines: [Translation("", (), (output,)) for output in said])
        result = model.evaluate([path])
    assert result.name == str(path)
    assert result.pairs == 90
    assert result.bleu == sacrebleu.corpus_bleu(answers, [wanted]).score > 50
    assert result.chrf == sacrebleu.corpus_chrf(answers, [wanted]).score > 10
    hits = [one == other for one, other in zip(answers, wanted, strict=True)]
    assert 0 < sum(hits) < 90
    assert result.exact == sum(hits) / 90
    scores = model.score([(source, target) for source, target in pairs])
    tokens = sum(score.tokens for score in scores)
    assert result.nats_per_token == pytest.approx(-sum(score.log_probability for score in scores) / tokens, rel=1e-12)
    assert result.signatures[0].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert result.signatures[1].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert result.lines() == [
        "pairs               90",
        f"nats per token      {result.nats_per_token:.4f}",
        f"exactly right       {result.exact:.2%}",
        f"BLEU                {result.bleu:.2f}   ({result.signatures[0]})",
        f"chrF                {result.chrf:.2f}   ({result.signatures[1]})",
    ]
    record = result.as_dict()
    assert list(record) == ["data", "pairs", "nats_per_token", "exact", "bleu", "chrf", "signatures"]
    assert record["data"] == str(path)


@pytest.mark.parametrize("kind", ["words", "shared"])
def test_parts_are_evaluated_by_name_and_cost_what_training_said(
    kind: str, translator: Callable[..., Translator]
) -> None:
    model = translator(kind)
    result = model.evaluate()
    assert result.name.startswith("validation part of ")
    assert result.pairs == model.config["data"]["parts"]["validation"]["rows"]
    assert result.nats_per_token == pytest.approx(model.config["training"]["results"]["validation_loss"], rel=1e-5)
    if kind == "words":
        assert model.evaluate(part="test").name.startswith("test part of ")
        assert model.evaluate(part="train").pairs == model.config["data"]["parts"]["train"]["rows"]
    else:
        with pytest.raises(UsageError, match=r'^part is "test": this model has train, validation$'):
            model.evaluate(part="test")


def test_what_training_left_out_is_left_out_of_its_own_parts_only(tmp_path: Path) -> None:
    rows = [f"a b c {n}\tx y {n}" for n in range(30)] + [f"a b c d e f g {n}\tx {n}" for n in range(10)]
    own, path = (ExampleSettings(most_tokens=6), TranslationSettings()), tmp_path / "pairs.tsv"
    model = trained(tmp_path, "\n".join(rows) + "\n", own=own, validation=str(path))
    for part in ("train", "validation"):
        result = model.evaluate(part=part)
        left = model.config["data"]["parts"][part]["rows"] - result.pairs
        assert left == 10
        assert result.name.endswith(f", without {left} of more than 6 tokens")
    with pytest.raises(CorpusError, match=rf"^{path}, line 31 has 9 tokens, the model reads at most 6"):
        model.evaluate([path])


def test_answers_as_lines_and_as_json() -> None:
    weights = np.array([[0.9, 0.1, 0.0], [0.05, 0.2, 0.75]], np.float32)
    outputs = (
        Output("x", ("x",), -0.5, -0.75, True, weights),
        Output("x y", ("x", "y"), -1.0, -2.0, False, weights),
    )
    answer = Translation("a b", ("a", "b", "⏎"), outputs)
    assert answer.text == "x"
    assert answer.lines() == ["x", "x y"]
    scored = replace(answer, shows_scores=True)
    assert scored.lines() == ["1\t-0.5000\t-0.7500\tx", "1\t-1.0000\t-2.0000\tx y"]
    drawn = replace(scored, shows_alignment=True).lines()
    assert [line.split("|")[0].strip() for line in drawn[1:3] + drawn[4:]] == ["x", "⏎", "x", "y"]
    assert [line.split("|")[2].strip() for line in drawn[1:3]] == ["a 0.90", "⏎ 0.75"]
    record = answer.as_dict()
    assert record["source_tokens"] == ["a", "b", "⏎"]
    assert record["outputs"][1] == {
        "text": "x y", "tokens": ["x", "y"], "score": -1.0, "log_probability": -2.0, "is_complete": False,
    }  # fmt: skip
    with_alignment = replace(answer, shows_alignment=True).as_dict()
    assert with_alignment["outputs"][0]["alignment"] == [[0.9, 0.1, 0.0], [0.05, 0.2, 0.75]]
    assert PairScore("a", "x", 2, -1.0, 1.6).lines() == ["-1.0000\t1.6000\ta\tx"]
    assert TranslatorResult("d", 1, 0, 0, 0, 0, ("a", "b")).lines()[0] == "pairs               1"


def test_another_tasks_directory_is_refused(sequence_model: Callable[[str], Path]) -> None:
    with pytest.raises(ModelDirectoryError, match=r"""its task is 'correct', expected "translate": unrolled info"""):
        Translator.load(sequence_model("correct"))
    with pytest.raises(ModelDirectoryError, match="there is no such folder"):
        Translator.load("nowhere")


# Data


OWN = (ExampleSettings(), TranslationSettings())


def prepared(*sources: Path, own: Any = OWN, **text: Any) -> TranslationData:
    data = TASK.prepare([*sources], TextSettings(**{"unit": "word", **text}), own)
    assert isinstance(data, TranslationData)
    return data


def trained(folder: Path, pairs: str, own: Any = OWN, **text: Any) -> Translator:
    import unrolled

    (folder / "pairs.tsv").write_text(pairs, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unrolled.training.output.draw_curve", lambda records, **_: b"no picture")
        unrolled.train(
            folder / "pairs.tsv",
            folder / "model",
            task="translate",
            own=own,
            text=unrolled.TextSettings(**{"unit": "word", **text}),
            model=unrolled.ModelSettings(hidden=4, embedding=4),
            training=unrolled.TrainingSettings(epochs=1, threads=1),
        )
    return Translator.load(folder / "model")


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_one_file_and_two_are_the_same_pairs(tmp_path: Path, tiny_pairs: str) -> None:
    rows = [line.split("\t") for line in tiny_pairs.splitlines()]
    one = write(tmp_path / "pairs.tsv", tiny_pairs)
    sources, targets = (
        write(tmp_path / name, "\n".join(row[side] for row in rows)) for side, name in enumerate(("source", "target"))
    )
    data, other = prepared(one), prepared(sources, targets)
    assert data.rows.parts == other.rows.parts
    assert (data.sources, other.sources) == ((str(one),), (str(sources), str(targets)))
    assert data.tokenizers() == other.tokenizers()
    assert set(data.tokenizers()) == {"tokenizer_json", "target_tokenizer_json"}


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        (["a\nb\n", "x\n"], CorpusError, r".*/0 and .*/1 have unequal numbers of lines, 2 and 1: those of .*/0 from"),
        (["a\nb\n", "x\n \n"], CorpusError, r".*/1, line 2: the line is empty, the same line of .*/0 is not"),
        (["a\n", "x\n", "y\n"], UsageError, "there are 3 files: give one with tabs, or one of sources and one of"),
        (["a\tx\n", "b\ty\n"], UsageError, r".*/0 and .*/1 hold pairs with tabs each: put them into one file"),
        (["a\tx\nb\n"], CorpusError, r".*/0, line 2: there is no tab, expected one between source and target"),
        (["a\tx\n\tb\n"], CorpusError, r".*/0, line 2: the source is empty"),
        (["a\tx\n" * 3], CorpusError, r".*/0: the validation part would be empty, there are only 3 rows, 1 of them"),
    ],
)
def test_files_that_are_no_pairs_are_refused(
    tmp_path: Path, files: list[str], error: type[Exception], message: str
) -> None:
    paths = [write(tmp_path / str(number), content) for number, content in enumerate(files)]
    with pytest.raises(error, match=f"^{message}"):
        prepared(*paths)


def test_batches_hold_pairs_with_what_the_decoder_reads_first(tmp_path: Path, tiny_pairs: str) -> None:
    data = prepared(write(tmp_path / "pairs.tsv", tiny_pairs))
    seen, end = [], data.target_tokenizer.end_of_line_id
    reader = data.reader("train", 8, 1)
    for batch in reader.batches(0):
        arrays: dict[str, Any] = batch.arrays()
        assert set(arrays) == {"source", "source_lengths", "inputs", "targets", "lengths"}
        assert (arrays["inputs"][0] == end).all()
        assert (arrays["inputs"][1:] == arrays["targets"][:-1]).all()
        assert batch.tokens == arrays["lengths"].sum()
        for b, (length, steps) in enumerate(zip(arrays["source_lengths"], arrays["lengths"], strict=True)):
            assert arrays["source"][length - 1, b] == data.tokenizer.end_of_line_id
            assert arrays["targets"][steps - 1, b] == end
            seen.append((
                data.tokenizer.decode(arrays["source"][: length - 1, b]),
                data.target_tokenizer.decode(arrays["targets"][: steps - 1, b]),
            ))  # fmt: skip

    def written(text: str, source: bool) -> str:
        tokenizer = data.tokenizer if source else data.target_tokenizer
        return tokenizer.decode(tokenizer.encode(text))

    assert sorted(seen) == sorted((written(r.source, True), written(r.target, False)) for r in data.rows.parts["train"])
    assert reader.tokens == data.size == sum(len(ids) for ids in encode_texts(
        data.target_tokenizer, [row.target for row in data.rows.parts["train"]]
    ))  # fmt: skip


def test_a_shared_vocabulary_is_one_tokenizer_of_both_sides(tmp_path: Path, tiny_pairs: str) -> None:
    path = write(tmp_path / "pairs.tsv", tiny_pairs)
    shared = prepared(path, own=(ExampleSettings(), TranslationSettings(shared_vocabulary=True)))
    apart = prepared(path)
    assert set(shared.tokenizers()) == {"tokenizer_json"}
    assert shared.tokenizer is shared.target_tokenizer
    both = set(apart.tokenizer.tokens) | set(apart.target_tokenizer.tokens)
    assert set(shared.tokenizer.tokens) == both
    assert shared.report.as_dict()["vocabularies"] == {"both sides": len(both)}
    assert "sees" not in apart.target_tokenizer.tokens
    assert "sieht" not in apart.tokenizer.tokens


def test_subwords_occur_often_enough_to_be_learnt(tmp_path: Path) -> None:
    rows = [f"{100 + number} thing\tword{number % 7} thing" for number in range(2 * LEAST_OFTEN)]
    data = prepared(write(tmp_path / "pairs.tsv", "\n".join(rows)), unit="bpe")
    for tokenizer in (data.tokenizer, data.target_tokenizer):
        merged = [token for token in tokenizer.tokens if len(token) > 1]
        assert "Ġthing" in merged
        assert not [token for token in merged if sum(map(str.isdigit, token)) > 1], "no number is one token"
    rare = prepared(write(tmp_path / "pairs.tsv", "\n".join(rows)), unit="bpe", min_count=150)
    assert len(rare.tokenizer.tokens) <= len(data.tokenizer.tokens)


def test_what_is_too_long_is_left_out_with_a_note(tmp_path: Path) -> None:
    rows = [f"a {n}\tb {n}" for n in range(20)] + ["a\tfar too long a target"] * 2 + ["far too long a source\tb"]
    path = write(tmp_path / "pairs.tsv", "\n".join(rows))
    data = prepared(path, own=(ExampleSettings(most_tokens=3), TranslationSettings()))
    left = {part: len(held) - len(data.kept[part]) for part, held in data.rows.parts.items()}
    assert sum(left.values()) == 3
    notes = [f"{part}: {count} pairs of more than 3 tokens are left out" for part, count in left.items() if count]
    assert list(data.notes()) == notes
    for most in (1, 2):
        with pytest.raises(CorpusError, match=rf"^the train part has no example of at most {most} tokens: give a larg"):
            prepared(path, own=(ExampleSettings(most_tokens=most), TranslationSettings()))


@pytest.mark.parametrize("kind", ["words", "shared"])
def test_a_run_that_goes_on_reads_the_same_data_into_the_same_tokens(
    kind: str, sequence_model: Callable[[str], Path]
) -> None:
    files = model_directory.load(sequence_model(kind))
    text, own = TASK.settings_of(files.config)
    data = TASK.prepare_again(SavedData(files.config["data"], files), [], text, own)
    assert isinstance(data, TranslationData)
    assert data.tokenizer.to_json() == files.tokenizer_json
    if kind == "shared":
        assert files.target_tokenizer_json is None
        assert data.target_tokenizer.to_json() == files.tokenizer_json
    else:
        assert data.target_tokenizer.to_json() == files.target_tokenizer_json
    assert data.record()["parts"] == files.config["data"]["parts"]


@pytest.mark.parametrize("task", ["translate", "correct"])
def test_settings_that_mean_nothing_are_refused(task: str) -> None:
    from unrolled.models.settings import ModelSettings
    from unrolled.nn import Regularization

    groups: tuple[tuple[str, Any, str], ...] = (
        ("training", TrainingSettings(window=20), "--window"),
        ("training", TrainingSettings(samples=100), "--samples"),
        ("text", TextSettings(read="sentences"), "--read"),
        ("regularization", Regularization(signal_norm=1.0), "--signal-norm"),
        ("regularization", Regularization(activation=1.0), "--activation"),
    )
    usual = {"text": TextSettings(), "model": ModelSettings(tied=True), "training": TrainingSettings()}
    for name, value, option in groups:
        with pytest.raises(UsageError, match=rf"^{option} means nothing to the task {task}: leave it out$"):
            Settings(**{**usual, name: value}, task=task)
    Settings(**usual, task=task)  # type: ignore[arg-type]


def test_an_attention_that_is_none_of_the_kinds_is_refused() -> None:
    with pytest.raises(UsageError, match=r'^attention is "best": choose one of additive, general, dot, none$'):
        TranslationSettings(attention="best")
