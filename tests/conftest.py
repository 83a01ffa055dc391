"""What all tests share."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; processes would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
# Threads of several workers would wait for each other on the same cores; read by OpenMP when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // WORKERS)))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cells that tests compile are kept for the tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLLED_CACHE", str(tmp_path_factory.mktemp("cache") / "cells"))
        yield


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Run code in a fresh interpreter, warnings as errors; the result is what it printed, and it has to succeed."""

    def run(code: str, *arguments: str) -> str:
        command = [sys.executable, "-W", "error", "-c", code, *arguments]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return run


@pytest.fixture(scope="session")
def tiny_text() -> str:
    """A text of 220 lines with some order in it: letters of two bytes and more, blank lines, words that occur once."""
    choose = random.Random(7)
    lines = []
    for number in range(200):
        who, does = (
            choose.choice(("the cat", "a dog", "Zoë", "the naïve Füchsin")),
            choose.choice(("sees", "won't see")),
        )
        whom = choose.choice(("the café", "a dog", "no one", "3.14 mice — all of them", "the €5 note", "日本"))
        lines.append(f"{who} {does} {whom}" + choose.choice((".", "!", ", again.")))
        if number % 10 == 9:
            lines.append("")
    lines[150] += " extraordinary"
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def tiny_reviews() -> str:
    """CSV of 90 texts with three labels; some words occur once, texts have up to nine words, a few of them quotes."""
    choose = random.Random(8)
    words = {"good": ("lovely", "wunderschön", "好"), "bad": ("awful", "dreadful"), "so so": ("blue", "made of wood")}
    lines = ["number,text,label"]
    for number in range(90):
        label = choose.choice(list(words))
        thing = choose.choice(("the film", "a book", "Zoë's naïve “play”", f"item {number}"))
        ends = choose.choice(("", " .", ", and nothing else !"))
        lines.append(f'{number},"{thing} is {choose.choice(words[label])}{ends}",{label}')
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def tiny_sentences() -> str:
    """90 sentences of tokens with BIO labels in two columns; some tokens occur once."""
    choose = random.Random(9)
    sentences = []
    for number in range(90):
        name = choose.choice(([("Zoë", "B-WHO")], [("Anna", "B-WHO"), ("May", "I-WHO")], [(f"Mr{number}", "B-WHO")]))
        where = choose.choice(([("Rome", "B-WHERE")], [("New", "B-WHERE"), ("York", "I-WHERE")], [("May", "O")]))
        verb, between, end = choose.choice(("saw", "left")), choose.choice((("in", "O"), ("a", "O"))), ("!", "O")
        tagged = [*name, (verb, "O"), *where, *choose.choice(([], [between], [between, end]))]
        sentences.append("".join(f"{token}\t{label}\n" for token, label in tagged))
    return "\n".join(sentences)


@pytest.fixture(scope="session")
def task_model(
    tmp_path_factory: pytest.TempPathFactory, tiny_reviews: str, tiny_sentences: str
) -> Callable[[str], Path]:
    """Model directories by task, "classify" and "tag"; each is trained when first asked for, with three parts.

    They have two layers, know what most words are, and lie in one folder beside their data, reviews.csv and
    sentences.tsv. They are not to be changed.
    """
    folder = tmp_path_factory.mktemp("tiny tasks")
    data = {"classify": folder / "reviews.csv", "tag": folder / "sentences.tsv"}
    data["classify"].write_text(tiny_reviews, encoding="utf-8")
    data["tag"].write_text(tiny_sentences, encoding="utf-8")

    @cache
    def train(task: str) -> Path:
        import unrolled

        with pytest.MonkeyPatch.context() as patch:  # drawing takes longer than training
            patch.setattr("unrolled.training.output.draw_curve", lambda records, **_: b"no picture")
            unrolled.train(
                data[task],
                folder / task,
                task=task,
                text=unrolled.TextSettings(min_count=2, split="80/10/10"),
                model=unrolled.ModelSettings(hidden=8, embedding=7, layers=2),
                training=unrolled.TrainingSettings(
                    epochs=12 if task == "classify" else 5, batch=4, learning_rate=0.03, threads=1
                ),
                regularization=unrolled.Regularization(dropout=0.0),
            )
        return folder / task

    return train


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Callable[[str], Path]:
    """Model directories by kind: "word", "char", "bpe", "sentences"; each is trained when first asked for.

    Together they have three kinds of cell, one and two layers, tied and untied weights, equal and unequal sizes, and
    words that are unknown. They lie in one folder beside their corpus, corpus.txt, and are not to be changed.
    """
    folder = tmp_path_factory.mktemp("tiny models")
    corpus = folder / "corpus.txt"
    corpus.write_text(tiny_text, encoding="utf-8")

    @cache
    def train(kind: str) -> Path:
        import unrolled

        text, model = {
            "word": (
                unrolled.TextSettings(min_count=2, split="80/10/10"),
                unrolled.ModelSettings(hidden=9, embedding=6),
            ),
            "char": (unrolled.TextSettings(unit="char"), unrolled.ModelSettings("gru", hidden=10, layers=2)),
            "bpe": (
                unrolled.TextSettings(unit="bpe", vocabulary_size=290),
                unrolled.ModelSettings("tanh", hidden=8, tied=True),
            ),
            "sentences": (
                unrolled.TextSettings(read="sentences", min_count=2, lowercase=True),
                unrolled.ModelSettings("gru_reset_before", hidden=8, embedding=5),
            ),
        }[kind]
        training = unrolled.TrainingSettings(epochs=8, batch=8, window=16, learning_rate=0.03, threads=1)
        unrolled.train(corpus, folder / kind, text=text, model=model, training=training)
        return folder / kind

    return train


@pytest.fixture(scope="session")
def tiny_pairs() -> str:
    """90 pairs, source, tab and target: the words change places and shapes, names stay; some words occur once."""
    choose = random.Random(10)
    verbs, things = (
        {"sees": "sieht", "doesn't see": "sieht nicht"},
        {"a cat": "Katze", "the café": "Café", "日本": "Japan"},
    )
    lines = []
    for number in range(90):
        who = choose.choice(("Zoë", "Anna May", f"Mr{number}"))
        verb, thing = choose.choice(list(verbs)), choose.choice(list(things))
        end = choose.choice((".", "", " , again !"))
        lines.append(f"{who} {verb} {thing}{end}\t{things[thing]} {who} {verbs[verb]}{end}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def sequence_model(tmp_path_factory: pytest.TempPathFactory, tiny_pairs: str, tiny_text: str) -> Callable[[str], Path]:
    """Model directories by kind, each trained when it is first asked for; they are not to be changed.

    "words", "shared", "backwards" and "plain" translate, "correct" corrects, "fill" and "fill letters" fill gaps.
    Together they have all kinds of attention and none, shared and separate vocabularies, each unit, one file and two,
    and lie in one folder beside their data: pairs.tsv, sources.txt, targets.txt and text.txt.
    """
    folder = tmp_path_factory.mktemp("tiny sequences")
    pairs, sources, targets, text = (folder / name for name in ("pairs.tsv", "sources.txt", "targets.txt", "text.txt"))
    pairs.write_text(tiny_pairs, encoding="utf-8")
    for number, path in enumerate((sources, targets)):
        sides = [line.split("\t")[number] for line in tiny_pairs.splitlines()]
        path.write_text("\n".join(sides) + "\n", encoding="utf-8")
    text.write_text("\n".join(tiny_text.split("\n")[:70]) + "\n", encoding="utf-8")

    @cache
    def train(kind: str) -> Path:
        import unrolled
        from unrolled.models.correct import CorrectionSettings
        from unrolled.models.rows import ExampleSettings
        from unrolled.models.translate import TranslationSettings

        words = unrolled.TextSettings("word", min_count=2, split="80/10/10")
        one_way = TranslationSettings("none", bidirectional=False)
        bpe, letters = unrolled.TextSettings("bpe", vocabulary_size=290), unrolled.TextSettings("char")
        kinds: dict[str, tuple[str, list[Path], unrolled.TextSettings, unrolled.ModelSettings, object]] = {
            "words": ("translate", [pairs], words, unrolled.ModelSettings("gru", 8, 7), TranslationSettings("general")),
            "shared": (
                *("translate", [sources, targets], bpe, unrolled.ModelSettings("lstm", 8, 8, 2, True)),
                TranslationSettings("additive", False, False, True),
            ),
            "backwards": (
                *("translate", [pairs], words, unrolled.ModelSettings("gru", 8, 5, 2)),
                TranslationSettings("dot", True, True),
            ),
            "plain": ("translate", [pairs], letters, unrolled.ModelSettings("tanh", 7, 6), one_way),
            "correct": ("correct", [text], bpe, unrolled.ModelSettings("gru", 8, 8), TranslationSettings()),
            "fill": ("fill", [text], words, unrolled.ModelSettings("gru", 8, 7, 2), None),
            "fill letters": ("fill", [text], letters, unrolled.ModelSettings("lstm", 8, 6), None),
        }
        task, data, chosen, model, own = kinds[kind]
        if task == "fill":
            settings: tuple[object, ...] = (ExampleSettings(),)
        else:
            settings = (ExampleSettings(), own, *([CorrectionSettings()] if task == "correct" else []))
        epochs = {"words": 10, "backwards": 5, "fill": 5}.get(kind, 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("unrolled.training.output.draw_curve", lambda records, **_: b"no picture")
            unrolled.train(
                data,
                folder / kind,
                task=task,
                own=settings,
                text=chosen,
                model=model,
                training=unrolled.TrainingSettings(epochs=epochs, batch=8, learning_rate=0.02, threads=1),
                regularization=unrolled.Regularization(dropout=0.0),
            )
        return folder / kind

    return train
