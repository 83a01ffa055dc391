"""The tutorial from its first number to its last sentence, in under a minute: `python examples/tutorial.py`.

A recurrent network with one hidden layer, written in NumPy, learns to predict the next word. On the way: how many
numbers there are to learn, what knowing nothing costs, three ways to the gradient and a check of it, what truncation
leaves out, a loss curve and new sentences. The text is the English of Python's own language reference.
"""

import argparse
import re
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

import numpy as np

from unrolled.reference import (
    Epoch,
    Rules,
    Settings,
    TruncatedGradientWarning,
    TutorialNetwork,
    bptt,
    check_network,
    corpus_loss,
    generate,
    naive_bptt,
    random_network,
    rtrl,
    train,
)
from unrolled.reference.training import Example

START, END, UNKNOWN = "SENTENCE_START", "SENTENCE_END", "UNKNOWN_TOKEN"
VOCABULARY_SIZE, HIDDEN_SIZE, LEARNING_RATE, SEED = 250, 60, 0.02, 10


class Corpus(NamedTuple):
    """Sentences as word indices, and the words."""

    words: list[str]
    examples: list[Example]
    unigram_loss: float
    """Nats per token of the best guess that ignores context."""


def read_sentences() -> list[list[str]]:
    """Take plain sentences of 4 to 16 tokens from the paragraphs of the language reference, in small letters."""
    sentences = []
    for paragraph in re.split(r"\n\s*\n", "\n\n".join(topics[name] for name in sorted(topics))):
        if re.search(r"^\s|^[*=~-]{3}", paragraph, flags=re.MULTILINE):  # code, lists, tables, underlined titles
            continue
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
            words = re.findall(r"[a-z]+(?:['-][a-z]+)*|[.,]", sentence.lower())
            if re.fullmatch(r"[A-Z][A-Za-z ,'\"()-]+\.", sentence) and 4 <= len(words) <= 16:
                sentences.append(words)
    return sentences


def prepare(sentences: list[list[str]]) -> Corpus:
    """Keep the most frequent words, mark where sentences start and end, and let every word predict the next."""
    count = Counter(word for sentence in sentences for word in sentence)
    frequent = sorted(count, key=lambda word: (-count[word], word))[: VOCABULARY_SIZE - 3]
    words = [START, END, UNKNOWN, *frequent]
    index = {word: i for i, word in enumerate(words)}
    rows = [np.array([0, *(index.get(word, 2) for word in sentence), 1]) for sentence in sentences]
    examples: list[Example] = [(row[:-1], row[1:]) for row in rows]
    share = np.bincount(np.concatenate([row[1:] for row in rows])) / sum(len(row) - 1 for row in rows)
    share = share[share > 0]
    return Corpus(words, examples, -float((share * np.log(share)).sum()))


def count_what_there_is() -> None:
    """Print the tutorial's size: parameters, the loss of a network that knows nothing, steps that errors travel."""
    network = random_network(8000, 100, np.random.default_rng(SEED))
    sentence = np.random.default_rng(SEED).integers(0, 8000, 46)
    inputs, targets = sentence[:-1], sentence[1:]
    print("A vocabulary of 8000 words and 100 hidden units, the tutorial's size:")
    print(f"  {network.parameter_count:,} parameters in U, V and W")
    print(f"  loss of the untrained network {corpus_loss(network, [(inputs, targets)]):.4f} nats per word")
    print(f"  log 8000, which is what a blind guess costs, {np.log(8000):.4f}")
    small = random_network(8000, 2, np.random.default_rng(SEED))
    everything, cut = naive_bptt(small, inputs, targets), naive_bptt(small, inputs, targets, truncate=4)
    print("Back-steps for a sentence of 45 words:")
    print(f"  naive {everything.back_steps}, truncated after 4 {cut.back_steps}, ", end="")
    print(f"in one loop {bptt(small, inputs, targets).back_steps}")


def check_gradients() -> None:
    """Take three ways to one gradient, with central differences as the judge, and catch the truncated gradient."""
    network = random_network(8, 2, np.random.RandomState(SEED))
    inputs, targets = np.arange(7), np.arange(1, 8)
    one = bptt(network, inputs, targets).gradients
    others = (naive_bptt(network, inputs, targets).gradients, rtrl(network, inputs, targets).gradients)
    apart = max(float(np.abs(other[name] - one[name]).max()) for other in others for name in one)
    report = check_network(network, inputs, targets)
    print("Gradients of a network with 8 words and 2 hidden units:")
    print(f"  naive BPTT, one-loop BPTT and RTRL differ by at most {apart:.0e}")
    print(
        f"  central differences agree: {report.share_checked:.0%} of {report.elements} elements, worst {report.worst}"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TruncatedGradientWarning)
        try:
            check_network(network, inputs, targets, truncate=4, rules=Rules(step=0.001, tolerance=0.01))
        except AssertionError as error:
            print(f"  {caught[0].message}:\n  {error}")


def learn(corpus: Corpus, epochs: int) -> list[Epoch]:
    """Train with plain SGD, a sentence at a time, and print the loss as it falls."""
    random = np.random.default_rng(SEED)
    network = random_network(len(corpus.words), HIDDEN_SIZE, random)
    tokens = sum(len(np.asarray(targets)) for _, targets in corpus.examples)
    print(f"Training on {len(corpus.examples)} sentences, {tokens:,} words, {network.parameter_count:,} parameters:")
    print(f"  a blind guess costs log {len(corpus.words)} = {np.log(len(corpus.words)):.3f} nats per word, ", end="")
    print(f"the best guess without context {corpus.unigram_loss:.3f}")
    history, began = [], time.perf_counter()
    for epoch in train(network, corpus.examples, Settings(epochs=epochs, learning_rate=LEARNING_RATE), random=random):
        history.append(epoch)
        print(f"  epoch {epoch.number:2}  loss {epoch.loss:.3f}  rate {epoch.learning_rate:.4f}", end="")
        print(f"  {time.perf_counter() - began:5.1f} s", flush=True)
    return history


def plot(corpus: Corpus, history: list[Epoch], path: Path) -> None:
    """Draw the loss on the training set after each epoch."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    axes.axhline(np.log(len(corpus.words)), color="0.6", linestyle="--", label=f"blind guess, log {len(corpus.words)}")
    axes.axhline(corpus.unigram_loss, color="0.6", linestyle=":", label="best guess without context")
    axes.plot([epoch.number for epoch in history], [epoch.loss for epoch in history], marker="o", label="training set")
    axes.set(xlabel="epoch", ylabel="loss (nats per word)", title="The tutorial's network", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write_sentences(network: TutorialNetwork, words: list[str], number: int) -> list[str]:
    """Make new sentences of at least five words, without the unknown word."""
    random = np.random.default_rng(SEED)
    sentences: list[str] = []
    for _ in range(50 * number):  # an untrained network may not find an end in time
        drawn = list(generate(network, [0], random, end=1, excluded=[0, 2], max_tokens=16))
        if 5 <= len(drawn) < 16 and len(sentences) < number:
            text = re.sub(r" ([.,])", r"\1", " ".join(words[i] for i in drawn))
            sentences.append(text[0].upper() + text[1:])
    return sentences


def main(arguments: Sequence[str] | None = None) -> None:
    """Walk through the tutorial."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tutorial.png"), help="where the loss curve goes")
    parser.add_argument("--epochs", type=int, default=35, help="passes over the sentences (default: %(default)s)")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    count_what_there_is()
    check_gradients()
    corpus = prepare(read_sentences())
    history = learn(corpus, options.epochs)
    plot(corpus, history, options.out)
    print(f"Loss curve: {options.out.resolve()}")
    print("New sentences:")
    for sentence in write_sentences(history[-1].network, corpus.words, 6):
        print(f"  {sentence}")
    print(f"All in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
