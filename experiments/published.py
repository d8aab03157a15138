"""Published figures, in % of wrong answers on the official bAbI test files (en-10k). None of these networks spikes."""
# ruff: noqa: E501 (sources)

JOINT = 0
"""Key of the mean of one network for all twenty tasks."""

ENTNET = {
    1: 0.0, 2: 0.1, 3: 4.1, 4: 0.0, 5: 0.3, 6: 0.2, 7: 0.0, 8: 0.5, 9: 0.1, 10: 0.6,
    11: 0.3, 12: 0.0, 13: 1.3, 14: 0.0, 15: 0.0, 16: 0.2, 17: 0.5, 18: 0.3, 19: 2.3, 20: 0.0,
}  # fmt: skip
"""EntNet (Henaff et al. 2017, arXiv:1612.03969), one task at a time, best of 10 runs."""

TOGETHER = {
    "EntNet": {
        1: 0.0, 2: 15.3, 3: 29.3, 4: 0.1, 5: 0.4, 6: 0.6, 7: 1.8, 8: 1.5, 9: 0.0, 10: 0.1,
        11: 0.0, 12: 0.0, 13: 0.0, 14: 7.3, 15: 3.6, 16: 53.3, 17: 8.8, 18: 1.3, 19: 70.4, 20: 0.0,
    },
    "SDNC": {
        1: 0.0, 2: 7.1, 3: 9.4, 4: 0.1, 5: 0.9, 6: 0.1, 7: 1.6, 8: 0.5, 9: 0.0, 10: 0.3,
        11: 0.0, 12: 0.2, 13: 0.1, 14: 5.6, 15: 3.6, 16: 53.0, 17: 12.4, 18: 1.6, 19: 30.8, 20: 0.0,
    },
}  # fmt: skip
"""One network for all tasks: EntNet (same paper), and SDNC (Rae et al. 2016, arXiv:1610.09027) as EntNet's
successors cite it. Published means of others: TPR-RNN 1.34, STM 0.39, Universal Transformer 0.29."""

ALONE = {
    "EntNet": {**ENTNET, JOINT: 9.7},
    "MemN2N": {1: 0.0, 2: 0.3, JOINT: 7.5},
    "LSTM": {1: 0.0, 2: 81.9},
}
"""One network per task, and JOINT: EntNet, MemN2N of Sukhbaatar et al. 2015 as EntNet's paper cites it, LSTM of the latter's
appendix."""
