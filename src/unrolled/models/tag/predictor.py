"""`Tagger`: a trained tagger for use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from unrolled import metrics, model_directory
from unrolled.errors import LineError
from unrolled.metrics import SpanScores
from unrolled.models.examples import saved_labels, saved_tokenizer, short_enough
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
from unrolled.models.tag import TASK
from unrolled.models.tag.data import encode_tokens, numbers_of, spelled
from unrolled.models.tag.network import TaggerNetwork, TaggerShape
from unrolled.models.task import check_task
from unrolled.text.examples import Sequences
from unrolled.text.tokenizer import Tokenizer

BATCH = 64


@dataclass(frozen=True)
class Tagging:
    """The labels of a sentence.

    Attributes:
        tokens: of the line, between blanks.
        labels: the most probable one for each.
        probabilities: of these.
        is_bio: whether all labels that the model knows are BIO labels.
    """

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    is_bio: bool

    def spans(self) -> list[tuple[str, str]]:
        """Kind and words of each span, where the labels are BIO labels."""
        if not self.is_bio:
            return []
        return [(kind, " ".join(self.tokens[start:end])) for start, end, kind in sorted(metrics.spans(self.labels))]

    def lines(self) -> list[str]:
        """Two columns, as the data have them, and a blank line."""
        return [*(f"{token}\t{label}" for token, label in zip(self.tokens, self.labels, strict=True)), ""]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "tokens": list(self.tokens),
            "labels": list(self.labels),
            "probabilities": list(self.probabilities),
            "spans": [list(span) for span in self.spans()],
        }


@dataclass(frozen=True)
class TaggerResult:
    """How good a tagger is.

    Attributes:
        name: of the data.
        sentences, tokens: how many there are.
        nats_per_label: mean negative log-probability of the right label.
        accuracy: share of the tokens whose label was found.
        spans: precision, recall and F1 of the spans, where the labels are BIO labels.
    """

    name: str
    sentences: int
    tokens: int
    nats_per_label: float
    accuracy: float
    spans: SpanScores | None

    def lines(self) -> list[str]:
        """Figures."""
        rows = [
            f"sentences           {self.sentences:,}",
            f"tokens              {self.tokens:,}",
            f"nats per label      {self.nats_per_label:.4f}",
            f"accuracy            {self.accuracy:.2%}",
        ]
        if self.spans is not None:
            rows += [
                f"span precision      {self.spans.precision:.2%}",
                f"span recall         {self.spans.recall:.2%}",
                f"span F1             {self.spans.f1:.4f}",
            ]
        return rows

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        record = {"data": self.name, "sentences": self.sentences, "tokens": self.tokens}
        record |= {"nats_per_label": self.nats_per_label, "accuracy": self.accuracy}
        return record | ({} if self.spans is None else {"spans": self.spans._asdict()})


class Tagger(Predictor):
    """A tagger read from a model directory.

    Attributes:
        config: contents of config.json.
        labels: that there are.
        tokenizer: tokens to ids.
    """

    knows: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self, config: Mapping[str, Any], labels: Sequence[str], tokenizer: Tokenizer, network: TaggerNetwork
    ) -> None:
        self.config, self.labels, self.tokenizer, self._network = config, tuple(labels), tokenizer, network
        self._most = TASK.settings_of(config)[1][0].most_tokens

    @classmethod
    def load(cls, directory: str | Path, *, engine: str = "auto") -> "Tagger":
        """Read and verify a model directory.

        Raises:
            ModelDirectoryError: it is missing, damaged, or another task's.
        """
        files = model_directory.load(directory)
        check_task(files.config, TASK.name, directory)
        check_files(files, TaggerShape, TaggerNetwork)
        network = TaggerNetwork(TaggerShape(**files.config["model"]), engine=engine)
        tokenizer = saved_tokenizer(
            TASK.settings_of(files.config)[0], files.tokenizer_json, size=network.shape.vocabulary_size
        )
        load_network(network, files)
        return cls(files.config, saved_labels(files.config, network.shape.labels), tokenizer, network)

    def tag(self, sentences: Sequence[str | Sequence[str]], *, batch: int = 32, first: int = 1) -> list[Tagging]:
        """The label of each token; answers do not depend on what stands beside.

        Args:
            sentences: tokens, or lines in which blanks stand between them.
            batch: sentences side by side.
            first: number of the first sentence, for messages.

        Raises:
            LineError: a sentence has no token, or too many.
        """
        refuse_below_one(batch=batch)
        refuse_one_text(sentences)
        split = [tuple(each.split()) if isinstance(each, str) else tuple(each) for each in sentences]
        for number, tokens in enumerate(split, first):
            for token in tokens:
                if token.split() != [token]:
                    raise LineError(number, f'has the token "{token}", which is empty or has a blank in it: split it')
            refuse_bad_line(" ".join(tokens), number, len(tokens), self._most)
        found, is_bio = [], metrics.is_bio(self.labels)
        for tokens, logs in zip(split, self._log_probabilities(split, batch), strict=True):
            best = logs.argmax(axis=1)
            shown = np.exp(logs[np.arange(len(tokens)), best])
            found.append(Tagging(tokens, tuple(self.labels[n] for n in best), tuple(map(float, shown)), is_bio))
        return found

    def answers(self, lines: Sequence[str], settings: PredictionSettings, *, first: int = 1) -> Sequence[Tagging]:
        """`tag`."""
        return self.tag(lines, batch=settings.batch, first=first)

    def evaluate(
        self, sources: Sequence[str | Path] | str | Path = (), part: str | None = None, *, tell: Tell = nobody
    ) -> TaggerResult:
        """Accuracy and span F1 on tagged sentences.

        Raises:
            CorpusError: they cannot be read, or have a label that training had not.
        """
        rows, name = TASK.rows_of(self.config, as_sources(sources), part)
        lengths, places = [len(row.tokens) for row in rows], [row.place() for row in rows]
        is_own = not sources or part is not None
        fits, name = short_enough(lengths, self._most, places, name, may_leave_out=is_own)
        rows = [rows[n] for n in fits]
        numbers = numbers_of(rows, self.labels)
        logs = self._log_probabilities([row.tokens for row in rows], BATCH)
        found = [[self.labels[n] for n in each.argmax(axis=1)] for each in logs]
        expected = [list(row.labels) for row in rows]
        costs = [-each[np.arange(len(ids)), ids] for each, ids in zip(logs, numbers, strict=True)]
        return TaggerResult(
            name,
            len(rows),
            sum(map(len, numbers)),
            float(np.concatenate(costs).mean()),
            metrics.accuracy([*chain(*expected)], [*chain(*found)]),
            metrics.span_scores(expected, found) if metrics.is_bio(self.labels) else None,
        )

    @torch.no_grad()
    def _log_probabilities(self, sentences: Sequence[Sequence[str]], batch: int) -> list[npt.NDArray[np.float64]]:
        """(T, C) for each sentence, in their order, whatever the batches."""
        if not sentences:
            return []
        ids = Sequences(encode_tokens(self.tokenizer, sentences))
        order = np.argsort(ids.lengths, kind="stable")
        logs: dict[int, npt.NDArray[np.float64]] = {}
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            arrays = {"ids": ids.padded(rows), "lengths": ids.lengths[rows]}
            arrays |= spelled([sentences[row] for row in rows])
            found = self._network.log_probabilities(**{name: torch.from_numpy(a) for name, a in arrays.items()})
            for column, row in enumerate(rows):
                logs[int(row)] = found[: ids.lengths[row], column].double().numpy()
        return [logs[number] for number in range(len(sentences))]
