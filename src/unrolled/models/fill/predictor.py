"""`Filler`: a trained network that fills gaps, for use."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from unrolled import metrics, model_directory
from unrolled.errors import CorpusError, LineError, ModelDirectoryError, UsageError
from unrolled.inference.evaluation_text import find_text
from unrolled.models.examples import encode_texts, saved_tokenizer, short_enough
from unrolled.models.fill import TASK, by_lines
from unrolled.models.fill.answers import Candidate, FillerResult, Filling, LineScore
from unrolled.models.fill.network import FillNetwork, FillShape
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
from unrolled.settings import from_record
from unrolled.text.examples import Ids, Sequences
from unrolled.text.settings import TextSettings
from unrolled.text.tokenizer import Tokenizer

GAP = "___"
PLACEHOLDER = {"word": "xgapxgapx", "char": "\ue000"}
"""What stands for a gap while a line is cut into tokens: one token of its unit, which no text has."""
BATCH = 64
TOP = 5
"""Candidates for a gap, where nobody says how many."""
PLACES_AT_ONCE = 1024
"""Places for which the whole vocabulary is looked at together."""
_GAPS = re.compile(r"_{3,}")


class Filler(Predictor):
    """A network that fills gaps, read from a model directory.

    Attributes:
        config: contents of config.json.
        tokenizer: text to token ids and back.
    """

    knows: ClassVar[frozenset[str]] = frozenset({"top", "candidates"})

    def __init__(self, config: Mapping[str, Any], tokenizer: Tokenizer, network: FillNetwork) -> None:
        self.config, self.tokenizer, self._network = config, tokenizer, network
        never = {tokenizer.end_of_line_id, network.gap_id}
        self._most = TASK.own_settings(config["training"]["own"])[0].most_tokens
        self._possible = np.array([n for n in range(tokenizer.vocabulary_size) if n not in never])

    @classmethod
    def load(cls, directory: str | Path, *, engine: str = "auto") -> "Filler":
        """Read and verify a model directory.

        Raises:
            ModelDirectoryError: it is missing, damaged, or another task's.
        """
        files = model_directory.load(directory)
        check_task(files.config, TASK.name, directory)
        check_files(files, FillShape, FillNetwork)
        shape = FillShape(**files.config["model"])
        try:
            text = by_lines(from_record(TextSettings, files.config["text"]))
            TASK.own_settings(files.config["training"]["own"])
        except (KeyError, TypeError, UsageError) as error:
            raise ModelDirectoryError(f"config.json: its settings are damaged ({error!r}): train again") from error
        tokenizer = saved_tokenizer(text, files.tokenizer_json, size=shape.vocabulary_size)
        network = FillNetwork(
            shape, end_of_line_id=tokenizer.end_of_line_id, gap_id=tokenizer.unknown_id or 0, engine=engine
        )
        load_network(network, files)
        return cls(files.config, tokenizer, network)

    def fill(
        self,
        lines: Sequence[str],
        *,
        top: int | None = None,
        candidates: Sequence[str] = (),
        batch: int = 32,
        first: int = 1,
    ) -> list[Filling]:
        """Candidates for the gaps of each line; answers do not depend on what stands beside.

        Args:
            lines: each with one gap or several: three underscores or more.
            top: candidates for each gap; None: 5, or all that are given.
            candidates: to be ranked instead of the whole vocabulary, of one word or several: a gap then has so many
                places, which are filled from left to right.
            batch: lines side by side.
            first: number of the first line, for messages.

        Raises:
            LineError: a line without a gap, or with one that touches a word.
            UsageError: a candidate has no word or one that the model does not know, or a count is below 1.
        """
        refuse_below_one(top=top, batch=batch)
        refuse_one_text(lines)
        words = [self._words_of(candidate) for candidate in candidates]
        encoded = [self._with_gaps(line, number) for number, line in enumerate(lines, first)]
        if any(len(each) > 1 for each in words):
            return [
                self._ranked(line, ids, gaps, dict(zip(candidates, words, strict=True)), top, batch)
                for line, (ids, gaps) in zip(lines, encoded, strict=True)
            ]
        asked = np.array([each[0] for each in words], np.int64) if words else self._possible
        names = list(candidates) or [self._word(int(n)) for n in asked]
        logs = self._log_probabilities([ids for ids, _ in encoded], [gaps for _, gaps in encoded], batch)
        fillings = []
        for line, found in zip(lines, logs, strict=True):
            ranked = []
            for row in found[:, asked]:
                order = np.argsort(-row, kind="stable")[: top or len(words) or TOP]
                ranked.append([(names[n], math.exp(row[n])) for n in order])
            fillings.append(_filling(line, ranked))
        return fillings

    def answers(self, lines: Sequence[str], settings: PredictionSettings, *, first: int = 1) -> Sequence[Filling]:
        """`fill`."""
        candidates = [word.strip() for word in (settings.candidates or "").split(",") if word.strip()]
        if settings.candidates is not None and not candidates:
            raise UsageError("--candidates names no word: separate them by commas, such as is,are")
        return self.fill(lines, top=settings.top, candidates=candidates, batch=settings.batch, first=first)

    def score(self, lines: Sequence[str], *, batch: int = BATCH, first: int = 1) -> list[LineScore]:
        """How well the words of each line fit; see `LineScore`.

        Raises:
            LineError: a line is empty, or too long.
            UsageError: the batch is below 1.
        """
        refuse_below_one(batch=batch)
        refuse_one_text(lines)
        ids = [each[:-1] for each in encode_texts(self.tokenizer, lines)]
        for number, (line, each) in enumerate(zip(lines, ids, strict=True), first):
            refuse_bad_line(line, number, len(each), self._most)
        scores = []
        for line, (costs, _) in zip(lines, self._costs(ids, batch), strict=True):
            nats = float(costs.sum())
            scores.append(LineScore(line, len(costs), -nats, metrics.perplexity(nats / len(costs))))
        return scores

    def scores(self, lines: Sequence[str], *, first: int = 1) -> Sequence[LineScore]:
        """`score`."""
        return self.score(lines, first=first)

    def evaluate(
        self, sources: Sequence[str | Path] | str | Path = (), part: str | None = None, *, tell: Tell = nobody
    ) -> FillerResult:
        """Ask for every word of a text, one at a time.

        Raises:
            CorpusError: it cannot be read, or has no words.
        """
        names = [str(source) for source in as_sources(sources)]
        text, name = find_text(dict(self.config), names or None, part)
        ids, end = self.tokenizer.encode(text), self.tokenizer.end_of_line_id
        lines = [each[each != end] for each in np.split(ids, np.flatnonzero(ids == end))]
        numbered = [(number, words) for number, words in enumerate(lines, 1) if len(words)]
        if not numbered:
            raise CorpusError(f"{name}: there are no words: give a text")
        places = [f"{name}, line {number}" for number, _ in numbered]
        is_own = not names or part is not None
        lengths = [len(words) for _, words in numbered]
        fits, name = short_enough(lengths, self._most, places, name, may_leave_out=is_own)
        words = [numbered[place][1] for place in fits]
        found = self._costs(words, BATCH)
        costs, right = (np.concatenate([each[index] for each in found]) for index in (0, 1))
        nats, known = float(costs.mean()), np.concatenate(words)
        unknown = float((known == self.tokenizer.unknown_id).mean())
        return FillerResult(name, len(costs), nats, metrics.perplexity(nats), float(right.mean()), unknown)

    def _word(self, token_id: int) -> str:
        return self.tokenizer.decode([token_id]).strip() or self.tokenizer.token(token_id)

    def _with_gaps(self, line: str, number: int) -> tuple[Ids, list[int]]:
        """Tokens of a line, and which of them are gaps."""
        placeholder = PLACEHOLDER[self.tokenizer.unit]
        text, count = _GAPS.subn(placeholder, line.replace("\n", " "))
        if not count:
            raise LineError(number, f"has no gap: write {GAP} for each missing word, with blanks around it")
        surfaces = self.tokenizer.surfaces(text)
        gaps = [place for place, surface in enumerate(surfaces) if surface == placeholder]
        if len(gaps) != count:
            raise LineError(number, f"has a gap that is a part of a word: put blanks around {GAP}")
        ids = self.tokenizer.encode(text)
        refuse_bad_line(line, number, len(ids), self._most)
        ids[gaps] = self._network.gap_id  # whatever the text that it was trained on calls a word
        return ids, gaps

    def _words_of(self, candidate: str) -> list[int]:
        """Ids of a candidate's words."""
        (words,) = ([*map(int, each[:-1])] for each in encode_texts(self.tokenizer, [candidate]))
        if not words:
            raise UsageError(f'candidate "{candidate}" has no word: give words')
        if self._network.gap_id in words:
            raise UsageError(f'candidate "{candidate}" has a word that the model does not know: leave it out')
        return words

    def _ranked(
        self, line: str, ids: Ids, gaps: list[int], candidates: Mapping[str, Sequence[int]], top: int | None, batch: int
    ) -> Filling:
        """Candidates of several words for each gap, by probability."""
        ranked = []
        for gap in gaps:
            rows = [(name, self._log_probability(ids, gap, words, batch)) for name, words in candidates.items()]
            rows.sort(key=lambda pair: -pair[1])
            ranked.append([(name, math.exp(log)) for name, log in rows[:top]])
        return _filling(line, ranked)

    def _log_probability(self, ids: Ids, gap: int, words: Sequence[int], batch: int) -> float:
        """Of a candidate's words in a gap, each given those before it and all that stands outside of the gap."""
        open_, lines = self._network.gap_id, list[Ids]()
        for place in range(len(words)):
            filling = np.array([*words[:place], *[open_] * (len(words) - place)], dtype=ids.dtype)
            lines.append(np.concatenate([ids[:gap], filling, ids[gap + 1 :]]))
        places = [[gap + place] for place in range(len(words))]
        logs = self._log_probabilities(lines, places, batch)
        return float(sum(row[0, word] for row, word in zip(logs, words, strict=True)))

    @torch.no_grad()
    def _vectors(self, sequences: Sequence[Ids], batch: int) -> list[torch.Tensor]:
        """(T, E) for each sequence."""
        lines = Sequences(sequences)
        order = np.argsort(lines.lengths, kind="stable")
        found: dict[int, torch.Tensor] = {}
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            lengths = torch.from_numpy(lines.lengths[rows])
            vectors = self._network(torch.from_numpy(lines.padded(rows)), lengths)
            for column, row in enumerate(rows):
                found[int(row)] = vectors[: lines.lengths[row], column]
        return [found[number] for number in range(len(sequences))]

    @torch.no_grad()
    def _log_probabilities(
        self, sequences: Sequence[Ids], places: Sequence[Sequence[int]], batch: int
    ) -> list[npt.NDArray[np.float64]]:
        """(gaps, V) for some places of each sequence."""
        vectors = self._vectors(sequences, batch)
        return [
            self._network.log_probabilities(each[list(where)]).double().numpy()
            for each, where in zip(vectors, places, strict=True)
        ]

    @torch.no_grad()
    def _costs(
        self, sequences: Sequence[Ids], batch: int
    ) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
        """Of each word of each sequence: nats, and whether it was the best candidate."""
        found = []
        for first in range(0, len(sequences), 16 * batch):
            some = sequences[first : first + 16 * batch]
            vectors = torch.cat(self._vectors(some, batch))
            words = torch.from_numpy(np.concatenate(some).astype(np.int64))
            costs, right = [], []
            for start in range(0, len(words), PLACES_AT_ONCE):
                logs = self._network.log_probabilities(vectors[start : start + PLACES_AT_ONCE])
                targets = words[start : start + PLACES_AT_ONCE]
                costs.append(-logs.gather(1, targets[:, None])[:, 0].double())
                right.append((logs.argmax(1) == targets) & (targets != self._network.gap_id))
            ends = np.cumsum([len(each) for each in some])[:-1]
            pairs = (np.split(torch.cat(each).numpy(), ends) for each in (costs, right))
            found += list(zip(*pairs, strict=True))
        return found


def _filling(line: str, ranked: Sequence[Sequence[tuple[str, float]]]) -> Filling:
    words = iter(candidates[0][0] for candidates in ranked)
    filled = _GAPS.sub(lambda match: next(words, match[0]), line)
    return Filling(line, tuple(tuple(Candidate(*each) for each in gap) for gap in ranked), filled)
