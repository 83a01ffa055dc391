"""`Translator`: a trained translator for use."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled import metrics, model_directory
from unrolled.errors import LineError, ModelDirectoryError, UsageError
from unrolled.model_directory import ModelFiles
from unrolled.models.examples import encode_texts, saved_tokenizer, short_enough, shown_tokens
from unrolled.models.network import check_files, load_network
from unrolled.models.predictor import (
    LINES_AT_ONCE,
    PredictionSettings,
    Predictor,
    Tell,
    as_sources,
    nobody,
    refuse_bad_line,
    refuse_below_one,
    refuse_one_text,
)
from unrolled.models.rows import RowTask
from unrolled.models.task import check_task
from unrolled.models.translate import TASK
from unrolled.models.translate.alignment import draw_alignment
from unrolled.models.translate.answers import END, Output, PairScore, Translation, TranslatorResult
from unrolled.models.translate.network import TranslationNetwork, TranslationShape
from unrolled.nn.beam_search import Hypothesis, beam_search
from unrolled.nn.decoder import DecoderState, Source
from unrolled.text.examples import Ids, Sequences
from unrolled.text.pairs import Pair
from unrolled.text.tokenizer import Tokenizer
from unrolled.text.tokenizer_json import UNKNOWN

BATCH = 32
USUAL_MOST = 200


class _Beams(NamedTuple):
    """State of a search: a row for each open output, those of a sentence side by side."""

    source: Source
    decoder: DecoderState


class Translator(Predictor):
    """A translator read from a model directory.

    Attributes:
        config: contents of config.json.
        tokenizer, target_tokenizer: of the two sides.
    """

    knows: ClassVar[frozenset[str]] = frozenset({"beam", "best", "length_penalty", "most_output", "alignment"})
    task: ClassVar[RowTask[Pair]] = TASK

    def __init__(
        self,
        config: Mapping[str, Any],
        tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        network: TranslationNetwork,
    ) -> None:
        self.config, self._network = config, network
        self.tokenizer, self.target_tokenizer = tokenizer, target_tokenizer
        self._most = self.task.settings_of(config)[1][0].most_tokens

    @classmethod
    def load(cls, directory: str | Path, *, engine: str = "auto") -> Self:
        """Read and verify a model directory.

        Raises:
            ModelDirectoryError: it is missing, damaged, or another task's.
        """
        files = model_directory.load(directory)
        check_task(files.config, cls.task.name, directory)
        check_files(files, TranslationShape, TranslationNetwork)
        shape = TranslationShape(**files.config["model"])
        tokenizers = _tokenizers(files, cls.task, shape)
        network = TranslationNetwork(shape, engine=engine)
        load_network(network, files)
        return cls(files.config, *tokenizers, network)

    def translate(
        self,
        lines: Sequence[str],
        *,
        beam: int = 5,
        best: int = 1,
        length_penalty: float = 1.0,
        most_output: int | None = None,
        batch: int = BATCH,
        first: int = 1,
    ) -> list[Translation]:
        """Translate lines; answers do not depend on what stands beside.

        Where the target's vocabulary has an unknown token and the output chooses it, the source's word that was looked
        at most stands in its place (Luong et al., arXiv:1410.8206, with attention for their alignments).

        Args:
            lines: in the source's language.
            beam: outputs kept side by side; 1 is greedy.
            best: how many of each line are wanted, at most `beam`.
            length_penalty: see `nn.beam_search`.
            most_output: most tokens of an output, its end too; None: `USUAL_MOST`, for long lines twice their tokens.
            batch: lines side by side.
            first: number of the first line, for messages.

        Raises:
            LineError: a line is empty, or too long.
            UsageError: a number is outside its range.
        """
        refuse_below_one(beam=beam, best=best, most_output=most_output, batch=batch)
        refuse_one_text(lines)
        ids = encode_texts(self.tokenizer, lines)
        for number, (line, tokens) in enumerate(zip(lines, ids, strict=True), first):
            refuse_bad_line(line, number, len(tokens), self._most)
        sequences = Sequences(ids)
        order = np.argsort(sequences.lengths, kind="stable")
        found: dict[int, list[Hypothesis]] = {}
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            outputs = self._search(sequences, rows, beam, best, length_penalty, most_output)
            found |= dict(zip(map(int, rows), outputs, strict=True))
        return [self._translation(line, ids[number], found[number]) for number, line in enumerate(lines)]

    def answers(self, lines: Sequence[str], settings: PredictionSettings, *, first: int = 1) -> Sequence[Translation]:
        """`translate`, with pictures of the alignments where they are asked for."""
        if settings.alignment is not None and self._network.decoder.attention is None:
            raise UsageError("--alignment: this model has no attention, so that there is nothing to draw")
        found = self.translate(
            lines,
            beam=settings.beam,
            best=settings.best,
            length_penalty=settings.length_penalty,
            most_output=settings.most_output,
            batch=settings.batch,
            first=first,
        )
        if settings.alignment not in {None, "-"}:
            self._draw(found, Path(str(settings.alignment)), first)
        draws = settings.alignment == "-"
        scored = settings.best > 1
        return [
            replace(each, number=number, shows_scores=scored, shows_alignment=draws)
            for number, each in enumerate(found, first)
        ]

    def score(self, pairs: Sequence[tuple[str, str]], *, batch: int = BATCH, first: int = 1) -> list[PairScore]:
        """Log p(target | source) of pairs, in nats, ends of lines included, as for reranking.

        Raises:
            LineError: a side is empty, or too long.
            UsageError: the batch is below 1.
        """
        refuse_below_one(batch=batch)
        for pair in pairs:
            if isinstance(pair, str) or len(pair) != 2:
                raise UsageError(f"expected pairs of source and target, not {pair!r:.60}: give tuples of two texts")
        sides = [encode_texts(self.tokenizer, [source for source, _ in pairs])]
        sides.append(encode_texts(self.target_tokenizer, [target for _, target in pairs]))
        for number, (pair, *tokens) in enumerate(zip(pairs, *sides, strict=True), first):
            for text, ids in zip(pair, tokens, strict=True):
                refuse_bad_line(text, number, len(ids), self._most)
        costs = self._costs(Sequences(sides[0]), Sequences(sides[1]), batch)
        return [
            PairScore(source, target, len(ids), -nats, metrics.perplexity(nats / len(ids)))
            for (source, target), ids, nats in zip(pairs, sides[1], costs, strict=True)
        ]

    def scores(self, lines: Sequence[str], *, first: int = 1) -> Sequence[PairScore]:
        """`score` of lines of source, tab and target."""
        pairs = []
        for number, line in enumerate(lines, first):
            if line.count("\t") != 1:
                raise LineError(
                    number, f"has {line.count(chr(9))} tabs, expected one between source and target: give pairs"
                )
            pairs.append((line.split("\t")[0], line.split("\t")[1]))
        return self.score(pairs, first=first)

    def evaluate(
        self, sources: Sequence[str | Path] | str | Path = (), part: str | None = None, *, tell: Tell = nobody
    ) -> TranslatorResult:
        """Translate the sources of pairs, and hold the translations against the targets.

        BLEU and chrF (Papineni et al. 2002, Popovic 2015) are sacrebleu's (Post, arXiv:1804.08771).

        Raises:
            CorpusError: they cannot be read, or one is too long.
        """
        from sacrebleu import BLEU, CHRF

        rows, name = self._rows_of(sources, part)
        scores = self.score([(row.source, row.target) for row in rows])
        found = self.translate_all([row.source for row in rows], tell)
        wanted = [row.target for row in rows]
        bleu, chrf = BLEU(), CHRF()
        values = [metric.corpus_score(found, [wanted]).score for metric in (bleu, chrf)]
        return TranslatorResult(
            name,
            len(rows),
            -sum(each.log_probability for each in scores) / sum(each.tokens for each in scores),
            float(np.mean([one == other for one, other in zip(found, wanted, strict=True)])),
            values[0],
            values[1],
            (str(bleu.get_signature()), str(chrf.get_signature())),
        )

    def translate_all(self, lines: Sequence[str], tell: Tell) -> list[str]:
        """The best translation of each line, as `translate` finds it; tells which share is done."""
        found: list[str] = []
        for start in range(0, len(lines), LINES_AT_ONCE):
            found += [each.text for each in self.translate(lines[start : start + LINES_AT_ONCE])]
            tell(len(found) / len(lines))
        return found

    def _rows_of(self, sources: Sequence[str | Path] | str | Path, part: str | None) -> tuple[list[Pair], str]:
        """Pairs to evaluate, and what to call them; of its own, those that training left out are left out here."""
        rows, name = self.task.rows_of(self.config, as_sources(sources), part)
        ids = encode_texts(self.tokenizer, [row.source for row in rows])
        wanted = encode_texts(self.target_tokenizer, [row.target for row in rows])
        lengths = [max(len(one), len(other)) for one, other in zip(ids, wanted, strict=True)]
        places, is_own = [row.place for row in rows], not sources or part is not None
        fits, name = short_enough(lengths, self._most, places, name, may_leave_out=is_own)
        return [rows[number] for number in fits], name

    @torch.no_grad()
    def _search(
        self,
        sequences: Sequences,
        rows: npt.NDArray[np.int64],
        beam: int,
        best: int,
        length_penalty: float,
        most_output: int | None,
    ) -> list[list[Hypothesis]]:
        network, lengths = self._network, torch.from_numpy(sequences.lengths[rows])
        source, begun = network.read(torch.from_numpy(sequences.padded(rows)), lengths)

        def step(tokens: Tensor, beams: _Beams) -> tuple[Tensor, _Beams] | tuple[Tensor, _Beams, Tensor]:
            decoded = network.decoder(tokens[None], beams.decoder, beams.source)
            logs = network.log_probabilities(decoded.vectors[0])
            after = _Beams(beams.source, decoded.state)
            return (logs, after) if decoded.weights is None else (logs, after, decoded.weights[0])

        end = self.target_tokenizer.end_of_line_id
        return beam_search(
            step,
            _select,
            _Beams(source, begun),
            batch=len(rows),
            width=beam,
            start=end,
            end=end,
            max_tokens=[most_output or max(USUAL_MOST, 2 * int(length)) for length in lengths],
            length_penalty=length_penalty,
            best=best,
        )

    def _translation(self, line: str, ids: Ids, found: list[Hypothesis]) -> Translation:
        surfaces = self.tokenizer.surfaces(line.replace("\n", " "))
        outputs = []
        for each in found:
            alignment = self._alignment(each, len(ids))
            tokens = np.array(each.tokens, dtype=np.int64)
            text = self._written(tokens, surfaces, alignment)
            shown = shown_tokens(self.target_tokenizer, tokens)
            outputs.append(Output(text, shown, each.score, each.log_probability, each.is_complete, alignment))
        return Translation(line, (*shown_tokens(self.tokenizer, ids), END), tuple(outputs))

    def _written(self, tokens: Ids, surfaces: Sequence[str], alignment: npt.NDArray[np.float32] | None) -> str:
        """The text of an output, with words of the source for what is unknown."""
        unknown = self.target_tokenizer.unknown_id
        if alignment is None or not surfaces or unknown not in tokens:
            return self.target_tokenizer.decode(tokens)
        stream, pieces = self.target_tokenizer.decode_stream(), []
        for token, row in zip(tokens.tolist(), alignment, strict=False):  # which has a row for the end, too
            piece = stream.push(token)
            if token == unknown:
                piece = piece.replace(UNKNOWN, surfaces[int(row[: len(surfaces)].argmax())])
            pieces.append(piece)
        return "".join(pieces) + stream.finish()

    def _alignment(self, hypothesis: Hypothesis, length: int) -> npt.NDArray[np.float32] | None:
        """(T, S) in the source's own order."""
        if not hypothesis.side:
            return None
        weights = torch.stack(hypothesis.side)[:, :length].numpy()
        return weights[:, ::-1] if self._network.shape.reverse_source else weights

    def _draw(self, found: Sequence[Translation], folder: Path, first: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, each in enumerate(found, first):
            output = each.outputs[0]
            if output.alignment is not None:
                picture = draw_alignment(output.alignment, each.source_tokens, output.steps, title=each.source)
                (folder / f"alignment-{number:04}.png").write_bytes(picture)

    @torch.no_grad()
    def _costs(self, sources: Sequences, targets: Sequences, batch: int) -> list[float]:
        """Nats of each target, in their order, whatever the batches."""
        order = np.lexsort((targets.lengths, sources.lengths))
        costs, start = np.zeros(len(order)), self.target_tokenizer.end_of_line_id
        for at in range(0, len(order), batch):
            rows = order[at : at + batch]
            wanted, lengths = torch.from_numpy(targets.padded(rows)), torch.from_numpy(targets.lengths[rows])
            inputs = torch.cat([torch.full_like(wanted[:1], start), wanted[:-1]])
            read = torch.from_numpy(sources.padded(rows)), torch.from_numpy(sources.lengths[rows])
            logs = self._network.log_probabilities(self._network(*read, inputs).vectors)
            found = logs.gather(2, wanted[..., None])[..., 0].double()
            counts = torch.arange(len(wanted))[:, None] < lengths
            costs[rows] = -(found * counts).sum(0).numpy()
        return [float(cost) for cost in costs]


def _select(beams: _Beams, rows: Tensor) -> _Beams:
    """Rows of a search; where sentences have ended, their memory goes too."""
    source, decoder = beams
    count = source.memory.shape[1]
    sentences = torch.unique_consecutive(rows // (len(decoder.fed) // count))
    if len(sentences) < count:
        lengths = None if source.lengths is None else source.lengths[sentences]
        source = Source(source.memory[:, sentences], source.keys[:, sentences], lengths)
    return _Beams(source, DecoderState(tuple(part[:, rows] for part in decoder.parts), decoder.fed[rows]))


def _tokenizers(files: ModelFiles, task: RowTask[Any], shape: TranslationShape) -> tuple[Tokenizer, Tokenizer]:
    text, _ = task.settings_of(files.config)
    source = saved_tokenizer(text, files.tokenizer_json, size=shape.source_size)
    if files.target_tokenizer_json is None:
        if not shape.shared:
            raise ModelDirectoryError(f"{files.directory}: has no target_tokenizer.json: restore it or train again")
        return source, source
    if shape.shared:
        raise ModelDirectoryError("target_tokenizer.json: the model has one vocabulary for both sides: train again")
    target = saved_tokenizer(text, files.target_tokenizer_json, size=shape.target_size, name="target_tokenizer.json")
    return source, target
