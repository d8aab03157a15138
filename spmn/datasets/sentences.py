"""A small corpus of our own, in English and Chinese, to learn similarity from without a download.

Sentences are made from a grammar of everyday scenes: who, does, what, where, when. Two sentences are alike in
as many of these as they share. Licence: that of this package.
"""
# ruff: noqa: E501 (word lists)

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spmn.datasets.corpus import Corpus
from spmn.errors import DataError

_ENGLISH: dict[str, Any] = {
    "who": [
        "A man", "A woman", "The boy", "The girl", "An old teacher", "My neighbour", "The doctor", "A young dog",
        "The black cat", "A tired farmer", "The musician", "Two children", "The driver", "A small bird", "Our cook",
    ],
    "does": {
        "eat": ["is eating", "eats", "tries"],
        "carry": ["is carrying", "carries", "brings"],
        "look": ["is looking at", "watches", "stares at"],
        "buy": ["is buying", "buys", "pays for"],
        "find": ["has found", "finds", "discovers"],
        "drop": ["has dropped", "drops", "loses"],
    },
    "what": [
        "an apple", "a loaf of bread", "some rice", "the newspaper", "a red ball", "an old guitar", "a bag of nuts",
        "the blue umbrella", "a bottle of milk", "a wooden box", "the train ticket", "a bunch of flowers",
    ],
    "where": [
        "in the kitchen", "at the station", "near the river", "in front of the school", "on the market square",
        "under a tree", "in the garden", "on the bridge", "behind the house", "at the beach", "",
    ],
    "when": ["today", "in the morning", "after the rain", "at night", "before dinner", "on Sunday", ""],
}  # fmt: skip
_CHINESE: dict[str, Any] = {
    "who": [
        "一个男人", "一个女人", "那个男孩", "那个女孩", "一位老教师", "我的邻居", "医生", "一只小狗", "那只黑猫",
        "疲倦的农民", "音乐家", "两个孩子", "司机", "一只小鸟", "我们的厨师",
    ],
    "does": {
        "eat": ["正在吃", "吃着", "尝了尝"],
        "carry": ["正拿着", "带着", "搬来"],
        "look": ["正看着", "望着", "盯着"],
        "buy": ["正在买", "买了", "付钱买"],
        "find": ["找到了", "发现了", "看见了"],
        "drop": ["掉了", "丢了", "弄丢了"],
    },
    "what": [
        "一个苹果", "一块面包", "一些米饭", "报纸", "一个红球", "一把旧吉他", "一袋坚果", "那把蓝色雨伞", "一瓶牛奶",
        "一个木箱", "火车票", "一束鲜花",
    ],
    "where": [
        "在厨房里", "在车站", "在河边", "在学校门口", "在集市上", "在树下", "在花园里", "在桥上", "在屋子后面",
        "在海滩上", "",
    ],
    "when": ["今天", "早上", "雨后", "夜里", "晚饭前", "星期天", ""],
}  # fmt: skip
LANGUAGES: dict[str, dict[str, Any]] = {"en": _ENGLISH, "zh": _CHINESE}


def generate(language: str, count: int = 4000, seed: int = 0) -> Corpus:
    """Different sentences, drawn at random.

    Raises DataError for a language that there is no grammar of, and for more than half of its sentences.
    """
    if language not in LANGUAGES:
        raise DataError(
            f"there is no corpus {language!r}; choose one of {', '.join(LANGUAGES)}, or name a file"
        )
    grammar, random = LANGUAGES[language], np.random.default_rng(seed)
    ways = sum(map(len, grammar["does"].values()))
    most = ways * math.prod(len(grammar[part]) for part in ("who", "what", "where", "when")) // 2
    if count > most:
        raise DataError(f"{count} sentences of {language!r}; ask for at most {most}")

    def one(choices: list[str]) -> str:
        return choices[random.integers(len(choices))]

    said: dict[str, None] = {}
    while len(said) < count:
        who, what, where, when = (one(grammar[part]) for part in ("who", "what", "where", "when"))
        does = one(grammar["does"][one(list(grammar["does"]))])
        if language == "en":
            said[" ".join(filter(None, (who, does, what, where, when))) + "."] = None
        else:
            said[f"{when}{who}{where}{does}{what}。"] = None
    return Corpus(tuple(said))
