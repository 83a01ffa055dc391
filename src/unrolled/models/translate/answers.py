"""What a translator answers: translations, scores, evaluations."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.models.translate.alignment import alignment_text

END = "⏎"
"""How the end of a line is shown."""


@dataclass(frozen=True)
class Output:
    """One translation of a line.

    Attributes:
        text: of it.
        tokens: of it, without the end.
        score: log-probability in nats over a power of the length; what ranks.
        log_probability: of all tokens, the end too, in nats.
        is_complete: whether it came to its end before it was cut off.
        alignment: (T, S) how much each of `steps` looked at each source token; None without attention.
    """

    text: str
    tokens: tuple[str, ...]
    score: float
    log_probability: float
    is_complete: bool
    alignment: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def steps(self) -> tuple[str, ...]:
        """The tokens, and the end where it was reached: what the rows of the alignment are of."""
        return (*self.tokens, END) if self.is_complete else self.tokens


@dataclass(frozen=True)
class Translation:
    """What a line was translated to.

    Attributes:
        source: the line.
        source_tokens: of it, the end too.
        outputs: the best first; there is one at least.
        number: of the line, from 1.
        shows_scores: whether `lines` gives all of them with their scores, or the best one alone.
        shows_alignment: whether `lines` draws what each output token looked at.
    """

    source: str
    source_tokens: tuple[str, ...]
    outputs: tuple[Output, ...]
    number: int = 1
    shows_scores: bool = False
    shows_alignment: bool = False

    @property
    def text(self) -> str:
        """The best translation."""
        return self.outputs[0].text

    def lines(self) -> list[str]:
        """The translation; or each with the line's number, score and log-probability, and the alignment."""
        rows = []
        for output in self.outputs:
            rows.append(
                f"{self.number}\t{output.score:.4f}\t{output.log_probability:.4f}\t{output.text}"
                if self.shows_scores
                else output.text
            )
            if self.shows_alignment and output.alignment is not None:
                rows += alignment_text(output.alignment, self.source_tokens, output.steps)
        return rows

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        outputs = []
        for output in self.outputs:
            record = {"text": output.text, "tokens": list(output.tokens), "score": output.score}
            record |= {"log_probability": output.log_probability, "is_complete": output.is_complete}
            if self.shows_alignment and output.alignment is not None:
                record["alignment"] = np.round(output.alignment.astype(float), 4).tolist()
            outputs.append(record)
        return {"source": self.source, "source_tokens": list(self.source_tokens), "outputs": outputs}


@dataclass(frozen=True)
class PairScore:
    """How probable a translation is.

    Attributes:
        source, target: the pair.
        tokens: of the target, the end too.
        log_probability: log p(target | source) in nats.
        perplexity: exp(-log_probability / tokens).
    """

    source: str
    target: str
    tokens: int
    log_probability: float
    perplexity: float

    def lines(self) -> list[str]:
        """Log-probability, perplexity, source and target, with tabs between."""
        return [f"{self.log_probability:.4f}\t{self.perplexity:.4f}\t{self.source}\t{self.target}"]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class TranslatorResult:
    """How good a translator is.

    Attributes:
        name: of the data.
        pairs: how many there are.
        nats_per_token: mean negative log-probability of the target's tokens.
        exact: share of the sources whose best translation is the target to the letter.
        bleu, chrf: of the corpus, from 0 to 100.
        signatures: of both, as sacrebleu gives them.
    """

    name: str
    pairs: int
    nats_per_token: float
    exact: float
    bleu: float
    chrf: float
    signatures: tuple[str, str]

    def lines(self) -> list[str]:
        """Figures, with sacrebleu's signatures."""
        return [
            f"pairs               {self.pairs:,}",
            f"nats per token      {self.nats_per_token:.4f}",
            f"exactly right       {self.exact:.2%}",
            f"BLEU                {self.bleu:.2f}   ({self.signatures[0]})",
            f"chrF                {self.chrf:.2f}   ({self.signatures[1]})",
        ]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {("data" if name == "name" else name): value for name, value in asdict(self).items()}
