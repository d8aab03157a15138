"""Experiments: each module trains, measures and draws one thing, with what `spmn` and `hardware` offer."""
