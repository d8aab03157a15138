"""Do two runners give the same bits? Random programs, and the first difference between two recordings."""

from hardware.conformance.compare import Difference, Result, compare, first_difference, watched
from hardware.conformance.generate import Case, random_case

__all__ = ["Case", "Difference", "Result", "compare", "first_difference", "random_case", "watched"]
