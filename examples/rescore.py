"""Re-rank the guesses of a speech or translation system: `python examples/rescore.py [DIR NBEST [REFERENCES]]`.

NBEST has lines `id<TAB>score<TAB>hypothesis`, several with the same id, score being the system's own log-probability;
REFERENCES has lines `id<TAB>text`, what was really said. A hypothesis is then worth

    score + weight * log p(hypothesis) + bonus * words

with the language model in DIR. The weight and the bonus are those with the fewest word errors on the first half of the
referenced ids, which is held out for that; the other half shows what they are worth. Without arguments a model is
trained, and a system that mishears words makes its guesses at sentences that the model has not seen.
"""

import argparse
import math
import os
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import unrolled
from unrolled.errors import CorpusError, UnrolledError, UsageError
from unrolled.text.embedded import embedded_text

WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0)
BONUSES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
Lists = dict[str, list[tuple[float, str]]]
"""By id, scores and hypotheses."""
Features = dict[str, npt.NDArray[np.float64]]
"""By id, for each hypothesis the system's score, the model's and the number of words, (N, 3)."""


def read_rows(path: str, *fields: str) -> Iterator[tuple[str, list[str]]]:
    """The file's lines, each with its place for messages; the last field may hold tabs, empty lines are passed over."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: cannot be read ({error}): give a text file in UTF-8") from error
    for number, line in enumerate(lines, 1):
        row = line.split("\t", len(fields) - 1)
        if line.strip() and len(row) < len(fields):
            raise CorpusError(f"{path}, line {number}: has {len(row)} of the fields {'<TAB>'.join(fields)}: give all")
        if line.strip():
            yield f"{path}, line {number}", row


def read_lists(path: str) -> Lists:
    """What the system guessed, in the order of the file."""
    found = defaultdict[str, list[tuple[float, str]]](list)
    for place, (name, score, text) in read_rows(path, "id", "score", "hypothesis"):
        try:
            found[name].append((float(score), text))
        except ValueError:
            raise CorpusError(f'{place}: the score is "{score}": give a number') from None
        if not math.isfinite(found[name][-1][0]):
            raise CorpusError(f'{place}: the score is "{score}": give a finite number')
    if not found:
        raise CorpusError(f"{path}: there is no hypothesis: give lines id<TAB>score<TAB>hypothesis")
    return found


def read_references(path: str, lists: Lists) -> dict[str, str]:
    """What was really said, by id."""
    found = dict[str, str]()
    for place, (name, text) in read_rows(path, "id", "text"):
        if name in found or name not in lists:
            problem = "stands here again" if name in found else "has no hypothesis"
            raise CorpusError(f'{place}: "{name}" {problem}: give each id of the n-best list once')
        found[name] = text
    return found


def score(model: unrolled.LanguageModel, lists: Lists) -> Features:
    """What a hypothesis is judged by; the model reads all of them side by side."""
    scores = model.score_stream(text for guesses in lists.values() for _, text in guesses)
    return {
        name: np.array([[value, next(scores).log_probability, len(text.split())] for value, text in guesses])
        for name, guesses in lists.items()
    }


def word_errors(hypothesis: str, reference: str) -> int:
    """Words to be put in, left out or replaced, at the least, to make one of the other (Levenshtein's distance)."""
    expected = reference.split()
    row = list(range(len(expected) + 1))
    for number, word in enumerate(hypothesis.split(), 1):
        diagonal, row[0] = row[0], number
        for at, other in enumerate(expected, 1):
            diagonal, row[at] = row[at], min(diagonal + (word != other), row[at - 1] + 1, row[at] + 1)
    return row[-1]


def mishear(
    sentence: str, alike: Mapping[tuple[str, int], list[str]], choose: random.Random
) -> list[tuple[float, str]]:
    """The 20 best guesses of a system that hears each word as itself or as one of two that begin alike, with noise."""
    slots = []
    for word in sentence.split():
        others = choose.choices(alike[word[0], len(word) // 3], k=2) if word.isalpha() else []
        slots.append([(choose.gauss(-2.0 * (n > 0), 1.5), other) for n, other in enumerate([word, *others])])
    heard = [[max(slot) for slot in slots]]
    heard += [[choose.choices(slot, [math.exp(s) for s, _ in slot])[0] for slot in slots] for _ in range(60)]
    guesses = {" ".join(word for _, word in words): sum(score for score, _ in words) for words in heard}
    return sorted(((score, text) for text, score in guesses.items()), reverse=True)[:20]


def demonstrate(epochs: float | None) -> tuple[Lists, Features, dict[str, str]]:
    """Guesses at sentences of the embedded text's last tenth, judged by a model of the others; and the sentences."""
    lines = embedded_text().splitlines()
    seen, unseen = lines[: len(lines) * 9 // 10], lines[len(lines) * 9 // 10 :]
    alike, choose = defaultdict[tuple[str, int], list[str]](list), random.Random(1)
    for word in sorted({word for line in lines for word in line.split() if word.isalpha()}):
        alike[word[0], len(word) // 3].append(word)
    sentences = [line for line in unseen if 5 <= len(line.split()) <= 20][:160]
    said = {f"sentence-{number}": sentence for number, sentence in enumerate(sentences, 1)}
    print("training a small model" + ("" if epochs else " for 30 seconds"), file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        corpus, directory = Path(folder, "seen.txt"), Path(folder, "model")
        corpus.write_text("\n".join(seen), encoding="utf-8")
        training = unrolled.TrainingSettings(epochs=epochs, minutes=None if epochs else 0.5)
        unrolled.train(
            corpus,
            directory,
            text=unrolled.TextSettings(min_count=2),
            model=unrolled.ModelSettings(tied=True),
            training=training,
            regularization=unrolled.Regularization(dropout=0.4),
        )
        lists = {name: mishear(sentence, alike, choose) for name, sentence in said.items()}
        return lists, score(unrolled.LanguageModel.load(directory), lists), said


def rescore(options: argparse.Namespace) -> None:
    """Score and fit; the lists go to standard output, and what it is worth to standard error."""
    if options.directory is None:
        lists, features, said = demonstrate(options.epochs)
    elif options.nbest is None:
        raise UsageError("NBEST is missing: give DIR and NBEST, or neither of them")
    else:
        lists = read_lists(options.nbest)
        said = read_references(options.references, lists) if options.references else {}
        if options.weight is None and not said:
            raise UsageError("nothing tells the weight of the language model: give REFERENCES, or --weight")
        features = score(unrolled.LanguageModel.load(options.directory), lists)
    errors = {name: [word_errors(guess, text) for _, guess in lists[name]] for name, text in said.items()}
    half = (len(said) + 1) // 2
    parts = {"held out": list(said)[:half], "other": list(said)[half:]}

    def count_errors(names: list[str], weight: float, bonus: float) -> int:
        return sum(errors[name][(features[name] @ [1, weight, bonus]).argmax()] for name in names)

    weight, bonus = options.weight, options.bonus
    if weight is None:
        pairs = [(weight, bonus) for weight in WEIGHTS for bonus in sorted(BONUSES, key=abs)]
        weight, bonus = min(pairs, key=lambda pair: count_errors(parts["held out"], *pair))  # the first of the best
    print(f"weight {weight:g}, bonus {bonus:g} for each word", file=sys.stderr)
    for title, names in parts.items():
        if words := sum(len(said[name].split()) for name in names):
            before, after = count_errors(names, 0, 0) / words, count_errors(names, weight, bonus) / words
            print(f"{title}: {len(names)} lines, word error rate {before:.1%} -> {after:.1%}", file=sys.stderr)
    for name, guesses in lists.items():
        worth = features[name] @ [1, weight, bonus]
        for place in np.argsort(-worth, kind="stable")[: None if options.all else 1]:
            print(f"{name}\t{worth[place]:.4f}\t{guesses[place][1]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, rescore, and say in one line what went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", nargs="?", metavar="DIR", help="model directory (default: train a small model)")
    parser.add_argument("nbest", nargs="?", metavar="NBEST", help="lines id<TAB>score<TAB>hypothesis")
    parser.add_argument("references", nargs="?", metavar="REFERENCES", help="lines id<TAB>text")
    parser.add_argument("--weight", type=float, help="of the language model, instead of fitting it")
    parser.add_argument("--bonus", type=float, default=0.0, help="for each word, with --weight (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="print all hypotheses, the best first")
    parser.add_argument("--epochs", type=float, help="passes over the text (default: what fits into 30 seconds)")
    try:
        rescore(parser.parse_args(arguments))
        sys.stdout.flush()
    except UnrolledError as error:
        print(f"rescore: error: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
