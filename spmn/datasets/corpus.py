"""Sentences to learn similarity from: one per line, or pairs with the similarity that people gave them.

Three formats are told apart by their first line:

    STS benchmark   tab-separated, no quoting: genre, file, year, number, score, sentence, sentence [, ...]
    pairs           comma- or tab-separated, quoted where needed: sentence, sentence, score
    text            anything else: a sentence per line

Scores are numbers from 0 (unlike) to whatever the file's scale ends with. All files are UTF-8.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spmn.embedding import Grams
from spmn.errors import DataError


@dataclass(frozen=True)
class Pair:
    """Two sentences, by number, and how alike people found them."""

    first: int
    second: int
    score: float


@dataclass(frozen=True)
class Corpus:
    """Distinct sentences in the order in which they first come, and scored pairs of them, if any."""

    sentences: tuple[str, ...]
    pairs: tuple[Pair, ...] = ()
    left_out: int = 0  # lines that hold no word

    @property
    def digest(self) -> str:
        """SHA-256 of the sentences and pairs."""
        pairs = [f"{pair.first} {pair.second} {pair.score!r}" for pair in self.pairs]
        return hashlib.sha256("\n".join([*self.sentences, *pairs]).encode()).hexdigest()

    def without(self, seen: Corpus) -> Corpus:
        """Pairs in which neither sentence is among those of `seen`, and their sentences."""
        known = set(seen.sentences)
        kept = [
            (self.sentences[pair.first], self.sentences[pair.second], pair.score)
            for pair in self.pairs
            if not {self.sentences[pair.first], self.sentences[pair.second]} & known
        ]
        return _of([s for s in self.sentences if s not in known], kept)


def read_corpus(path: Path | str, grams: Grams | None = None) -> Corpus:
    """The sentences of a file. Lines without a word, for these n-grams, are left out and counted.

    Raises DataError, naming the line, for a file that is missing, empty or not UTF-8, for a score that is no
    number, and where fewer than three different sentences are left.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = path.read_bytes()[: problem.start].count(b"\n") + 1
        raise DataError(
            f"{str(path)!r}, line {line} is not UTF-8; convert the file, such as by iconv -f gb18030 -t utf-8"
        ) from None
    except OSError as problem:
        raise DataError(f"{str(path)!r} cannot be read: {problem.strerror or problem}") from None
    lines = text.replace("\r\n", "\n").split("\n")
    first = next((line for line in lines if line.strip()), "")
    words = _words(grams or Grams())
    if first.count("\t") >= 6:
        rows = [(n, line.split("\t")) for n, line in enumerate(lines, 1) if line.strip()]
        corpus = _pairs(path, [(n, row[4:7]) for n, row in rows], (1, 2, 0), words)
    elif (separator := _separator(first)) is not None:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        try:
            rows = [(reader.line_num, row) for row in reader if row]
        except csv.Error as problem:
            raise DataError(
                f"{str(path)!r}, line {reader.line_num} ends a field that has gone on too long ({problem}); "
                'look for a quotation mark that opens it: "" is one within a quoted sentence'
            ) from None
        corpus = _pairs(path, rows, (0, 1, 2), words)
    else:
        said = [line.strip() for line in lines]
        kept = [line for line in said if words(line)]
        corpus = _of(kept, [], sum(bool(line) for line in said) - len(kept))
    if len(corpus.sentences) < 3:
        raise DataError(
            f"{str(path)!r} holds {len(corpus.sentences)} different sentences with words; give at least 3"
        )
    return corpus


def _words(grams: Grams) -> Callable[[str], bool]:
    def there(sentence: str) -> bool:
        try:
            return bool(grams(sentence))
        except DataError:
            return False

    return there


def _separator(line: str) -> str | None:
    """Of a line that reads as sentence, sentence, score."""
    for separator in (",", "\t"):
        row = next(csv.reader([line], delimiter=separator))
        if len(row) == 3 and _number(row[2]) is not None and _number(row[1]) is None:
            return separator
    return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _pairs(
    path: Path,
    rows: Iterable[tuple[int, Sequence[str]]],
    at: tuple[int, int, int],
    words: Callable[[str], bool],
) -> Corpus:
    told, left_out = [], 0
    for line, row in rows:
        if len(row) != 3 or (score := _number(row[at[2]])) is None:
            raise DataError(
                f"{str(path)!r}, line {line}: {list(row)} is not two sentences and a score; mend the line"
            )
        first, second = row[at[0]].strip(), row[at[1]].strip()
        if words(first) and words(second):
            told.append((first, second, score))
        else:
            left_out += 1
    return _of([s for first, second, _ in told for s in (first, second)], told, left_out)


def _of(sentences: Sequence[str], pairs: Iterable[tuple[str, str, float]], left_out: int = 0) -> Corpus:
    distinct = tuple(dict.fromkeys(sentences))
    index = {sentence: i for i, sentence in enumerate(distinct)}
    return Corpus(distinct, tuple(Pair(index[a], index[b], score) for a, b, score in pairs), left_out)
