"""`Classifier`: a trained classifier for use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from unrolled import metrics, model_directory
from unrolled.models.classify import TASK
from unrolled.models.classify.data import numbers_of
from unrolled.models.classify.network import ClassifierNetwork, ClassifierShape
from unrolled.models.examples import encode_texts, saved_labels, saved_tokenizer, short_enough
from unrolled.models.network import check_files, load_network
from unrolled.models.predictor import (
    PredictionSettings,
    Predictor,
    Tell,
    as_sources,
    nobody,
    refuse_bad_line,
    refuse_below_one,
    refuse_one_text,
)
from unrolled.models.task import check_task
from unrolled.text.examples import Ids, Sequences
from unrolled.text.tokenizer import Tokenizer

BATCH = 64


@dataclass(frozen=True)
class Classification:
    """What a text was taken for.

    Attributes:
        text: the line.
        label: the most probable one.
        probability: its probability.
        probabilities: of the most probable labels, in their order.
        moved: each word with what it adds to log p(label), in nats, if asked for.
        shows_all: whether `lines` gives all probabilities.
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]
    moved: tuple[tuple[str, float], ...] = ()
    shows_all: bool = False

    def lines(self) -> list[str]:
        """Label, probability, text; and below it words by what they moved, the strongest first."""
        ranked, text = sorted(self.moved, key=lambda pair: -abs(pair[1])), " ".join(self.text.split("\n"))
        return [
            f"{self.label}\t{self.probability:.4f}\t{text}",
            *(f"\t{share:.4f}\t{label}" for label, share in self.probabilities.items() if self.shows_all),
            *(f"\t{nats:+.4f}\t{word}" for word, nats in ranked),
        ]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object; without "moved" where nobody asked."""
        record = {
            "text": self.text,
            "label": self.label,
            "probability": self.probability,
            "probabilities": self.probabilities,
        }
        return record | ({"moved": [list(pair) for pair in self.moved]} if self.moved else {})


@dataclass(frozen=True)
class ClassifierResult:
    """How good a classifier is.

    Attributes:
        name: of the data.
        examples: how many there are.
        nats_per_label: mean negative log-probability of the right label.
        accuracy: share of the texts whose label was found.
        macro_f1: mean of the labels' F1.
        labels: rows and columns of the confusion matrix.
        confusion: how often each label (row) was taken for each (column).
        f1: of each label.
    """

    name: str
    examples: int
    nats_per_label: float
    accuracy: float
    macro_f1: float
    labels: tuple[str, ...]
    confusion: list[list[int]]
    f1: dict[str, float]

    def lines(self) -> list[str]:
        """Figures, and the confusion matrix."""
        width = max(8, *(len(label) for label in self.labels)) + 2
        rows = [
            f"examples            {self.examples:,}",
            f"nats per label      {self.nats_per_label:.4f}",
            f"accuracy            {self.accuracy:.2%}",
            f"macro F1            {self.macro_f1:.4f}",
            "",
            f"{'expected':<{width}}" + "".join(f"{label:>{width}}" for label in (*self.labels, "F1")),
        ]
        for label, counts in zip(self.labels, self.confusion, strict=True):
            f1 = f"{self.f1[label]:.4f}" if label in self.f1 else "-"
            rows.append(f"{label:<{width}}" + "".join(f"{count:>{width},}" for count in counts) + f"{f1:>{width}}")
        return rows

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        names = ("examples", "nats_per_label", "accuracy", "macro_f1", "f1", "confusion")
        return {"data": self.name, "labels": list(self.labels)} | {name: getattr(self, name) for name in names}


class Classifier(Predictor):
    """A classifier read from a model directory.

    Attributes:
        config: contents of config.json.
        labels: that there are.
        tokenizer: text to token ids.
    """

    knows: ClassVar[frozenset[str]] = frozenset({"top", "explain"})

    def __init__(
        self, config: Mapping[str, Any], labels: Sequence[str], tokenizer: Tokenizer, network: ClassifierNetwork
    ) -> None:
        self.config, self.labels, self.tokenizer, self._network = config, tuple(labels), tokenizer, network
        self._most = TASK.settings_of(config)[1][0].most_tokens

    @classmethod
    def load(cls, directory: str | Path, *, engine: str = "auto") -> "Classifier":
        """Read and verify a model directory.

        Raises:
            ModelDirectoryError: it is missing, damaged, or another task's.
        """
        files = model_directory.load(directory)
        check_task(files.config, TASK.name, directory)
        check_files(files, ClassifierShape, ClassifierNetwork)
        network = ClassifierNetwork(ClassifierShape(**files.config["model"]), engine=engine)
        tokenizer = saved_tokenizer(
            TASK.settings_of(files.config)[0], files.tokenizer_json, size=network.shape.vocabulary_size
        )
        load_network(network, files)
        return cls(files.config, saved_labels(files.config, network.shape.labels), tokenizer, network)

    @property
    def text_column(self) -> str:
        """That of the data it was trained on."""
        return str(TASK.settings_of(self.config)[1][1].text_column)

    def classify(
        self, texts: Sequence[str], *, top: int | None = None, explain: bool = False, batch: int = 32, first: int = 1
    ) -> list[Classification]:
        """The label of each text; answers do not depend on what stands beside.

        Args:
            texts: to classify.
            top: how many labels to give probabilities of; None: all.
            explain: whether to say what each word moved: log p(label) of the text less that of the text with the word
                read as unknown (left out where the tokenizer knows all), in nats; "leave one out" (Li et al.,
                arXiv:1612.08220).
            batch: texts side by side.
            first: number of the first text, for messages.

        Raises:
            LineError: a text is empty, or too long.
        """
        refuse_below_one(top=top, batch=batch)
        refuse_one_text(texts)
        ids = self._encode(texts, first)
        logs = self._log_probabilities(ids, batch)
        answers = []
        for text, row, tokens in zip(texts, logs, ids, strict=True):
            order = np.argsort(-row, kind="stable")[:top]
            moved = self._moved(text, tokens, int(order[0]), float(row[order[0]]), batch) if explain else ()
            shown = {self.labels[n]: float(np.exp(row[n])) for n in order}
            answers.append(Classification(text, self.labels[order[0]], shown[self.labels[order[0]]], shown, moved))
        return answers

    def answers(
        self, lines: Sequence[str], settings: PredictionSettings, *, first: int = 1
    ) -> Sequence[Classification]:
        """`classify`."""
        found = self.classify(lines, top=settings.top, explain=settings.explain, batch=settings.batch, first=first)
        return [replace(each, shows_all=settings.top is not None) for each in found]

    def evaluate(
        self, sources: Sequence[str | Path] | str | Path = (), part: str | None = None, *, tell: Tell = nobody
    ) -> ClassifierResult:
        """Accuracy, F1 and confusion on a table.

        Raises:
            CorpusError: it cannot be read, or has a label that training had not.
        """
        rows, name = TASK.rows_of(self.config, as_sources(sources), part)
        ids = encode_texts(self.tokenizer, [row.text for row in rows])
        places, is_own = [row.place for row in rows], not sources or part is not None
        fits, name = short_enough([*map(len, ids)], self._most, places, name, may_leave_out=is_own)
        rows, ids = [rows[n] for n in fits], [ids[n] for n in fits]
        expected = numbers_of(rows, self.labels)
        logs = self._log_probabilities(ids, BATCH)
        names = [self.labels[n] for n in expected]
        found = [self.labels[n] for n in logs.argmax(axis=1)]
        return ClassifierResult(
            name,
            len(rows),
            float(-logs[np.arange(len(rows)), expected].mean()),
            metrics.accuracy(names, found),
            metrics.macro_f1(names, found),
            self.labels,
            metrics.confusion(names, found, self.labels),
            metrics.f1_by_label(names, found),
        )

    def _encode(self, texts: Sequence[str], first: int) -> list[Ids]:
        ids = encode_texts(self.tokenizer, texts)
        for number, (text, tokens) in enumerate(zip(texts, ids, strict=True), first):
            refuse_bad_line(text, number, len(tokens), self._most)
        return ids

    @torch.no_grad()
    def _log_probabilities(self, ids: Sequence[Ids], batch: int) -> npt.NDArray[np.float64]:
        """(N, C), in the order of the texts, whatever the batches."""
        sequences = Sequences(ids)
        order = np.argsort(sequences.lengths, kind="stable")
        logs = np.empty((len(ids), len(self.labels)))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            lengths = torch.from_numpy(sequences.lengths[rows])
            logs[rows] = self._network.log_probabilities(torch.from_numpy(sequences.padded(rows)), lengths).numpy()
        return logs

    def _moved(self, text: str, tokens: Ids, label: int, whole: float, batch: int) -> tuple[tuple[str, float], ...]:
        """What each token but the end moves."""
        unknown, places = self.tokenizer.unknown_id, range(len(tokens) - 1)
        without = []
        for place in places:
            if unknown is None:
                without.append(np.delete(tokens, place))
            else:
                changed = np.array(tokens)
                changed[place] = unknown
                without.append(changed)
        if not without:
            return ()
        logs = self._log_probabilities(without, batch)[:, label]
        surfaces = self.tokenizer.surfaces(text.replace("\n", " ") + "\n")[:-1]  # known or not
        words = [surface or " " for surface in surfaces]
        return tuple((word, whole - float(log)) for word, log in zip(words, logs, strict=True))
