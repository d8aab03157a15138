"""Shapes, sounds and words that belong together: stored once, recalled from each other."""
