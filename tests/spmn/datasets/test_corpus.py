"""Files of sentences and of scored pairs, and those that are none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spmn.datasets.corpus import Corpus, Pair, read_corpus
from spmn.errors import DataError

SHARED = Path(__file__).parents[4] / "shared" / "data" / "similarity"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "corpus"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_sentence_per_line(tmp_path: Path) -> None:
    found = read_corpus(written(tmp_path, "\ufeffOne cat.\r\n\r\n我还有几天\n...\nOne cat.\nTwo, cats, 3\n"))
    assert found == Corpus(("One cat.", "我还有几天", "Two, cats, 3"), (), left_out=1)


def test_sts_benchmark(tmp_path: Path) -> None:
    found = read_corpus(
        written(
            tmp_path, 'g\tf\t2012\t1\t2.500\tA "cat.\tA dog.\ng\tf\t2012\t2\t5\tA "cat.\tA cat!\tsource\n'
        )
    )
    assert found.sentences == ('A "cat.', "A dog.", "A cat!")
    assert found.pairs == (Pair(0, 1, 2.5), Pair(0, 2, 5.0))


def test_a_quotation_that_nothing_ends_is_named(tmp_path: Path) -> None:
    rows = [f"one {n},two {n},{n % 5}\n" for n in range(8000)]
    path = written(tmp_path, "".join([*rows[:3], '"stray,quote,1\n', *rows[3:]]))
    with pytest.raises(DataError, match=r"line \d+ ends a field .* look for a quotation mark"):
        read_corpus(path)


def test_lines_end_where_lines_end(tmp_path: Path) -> None:
    """Not at other marks that Unicode knows, which sentences hold."""
    path = written(tmp_path, "one\u2028two,three four,2\nfive,six\x0bseven,3\n")
    assert read_corpus(path).sentences == ("one\u2028two", "three four", "five", "six\x0bseven")


@pytest.mark.parametrize("separator", [",", "\t"])
def test_pairs(tmp_path: Path, separator: str) -> None:
    lines = [("a cat", '"so, a ""dog"""', "2.5"), ("我 猫", "我 狗", "0"), ("a cat", "?", "1")]
    found = read_corpus(written(tmp_path, "\n".join(separator.join(line) for line in lines)))
    assert found.sentences == ("a cat", 'so, a "dog"', "我 猫", "我 狗")
    assert found.pairs == (Pair(0, 1, 2.5), Pair(2, 3, 0.0))
    assert found.left_out == 1


@given(seen=st.sets(st.integers(0, 9)))
def test_without_what_was_seen(seen: set[int]) -> None:
    names = tuple(f"s{n}" for n in range(10))
    pairs = tuple(Pair(n, (n * 3 + 1) % 10, float(n)) for n in range(10))
    left = Corpus(names, pairs).without(Corpus(tuple(names[n] for n in sorted(seen))))
    assert left.sentences == tuple(name for n, name in enumerate(names) if n not in seen)
    expected = [(n, (n * 3 + 1) % 10, float(n)) for n in range(10) if not {n, (n * 3 + 1) % 10} & seen]
    assert [(left.sentences[p.first], left.sentences[p.second], p.score) for p in left.pairs] == [
        (names[a], names[b], score) for a, b, score in expected
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds 0 different sentences"),
        ("one\n\n", "holds 1 different sentences"),
        ("same\nsame\nsame\nsame", "holds 1 different sentences"),
        ("?\n!\n.\n", "holds 0 different sentences"),
        ("fine\nstill fine\n\xe9t\xe9".encode("latin-1"), "line 3 is not UTF-8"),
        ("a cat,a dog,1\na bird,a fish,many\n", "line 2: .*'many'.* is not two sentences and a score"),
        ("a cat,a dog,1\na bird,a fish\n", "line 2: "),
        ("a cat,a dog,1\na bird,a fish,nan\n", "line 2: "),
        ("g\tf\ty\t1\t1.0\ta cat\ta dog\ng\tf\ty\t2\t1.0\ta bird\n", "line 2: "),
    ],
)
def test_what_is_no_corpus_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_corpus(written(tmp_path, text))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.* cannot be read"):
        read_corpus(tmp_path / "nowhere")


@pytest.mark.skipif(not SHARED.exists(), reason="no similarity files beside the project")
@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("en_stsbenchmark/sts-train.csv", 5749),
        ("en_stsbenchmark/sts-dev.csv", 1500),
        ("zh_stsb_deepl/stsb-zh-train.csv", 5749),
        ("zh_stsb_deepl/stsb-zh-dev.csv", 1500),
        ("zh_simclue/corpus_1w.txt", 0),
    ],
)
def test_the_files_there_are(name: str, pairs: int) -> None:
    found = read_corpus(SHARED / name)
    assert len(found.pairs) == pairs
    assert all(0 <= pair.score <= 5 for pair in found.pairs)
    assert found.left_out < 20
