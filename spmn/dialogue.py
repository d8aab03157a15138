"""Talking to a network: sentences are stored, questions are answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from spmn.datasets.babi import Line, Story
from spmn.events import collate, stream
from spmn.network import SPMN
from spmn.provenance import Explanation, explain


@dataclass
class Dialogue:
    """A story that grows line by line; `network` in evaluation mode."""

    network: SPMN
    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> Explanation | None:
        """Hear a sentence (None), or answer a question: a line that ends in "?".

        Raises VocabularyError for a word the network has never seen; the line is then not taken up.
        """
        self.network.vocabulary.ids(Line(1, line).words)
        self.lines.append(line)
        if not line.rstrip().endswith("?"):
            return None
        numbered = tuple(
            Line(n, text, "" if text.rstrip().endswith("?") else None) for n, text in enumerate(self.lines, 1)
        )
        events = collate([stream(Story(0, numbered), self.network.vocabulary)])
        return explain(self.network, events, len(self.lines) - 1)
