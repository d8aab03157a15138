"""For all tests."""

from hypothesis import settings

settings.register_profile("spmn", deadline=None)  # a slow machine is no fault
settings.load_profile("spmn")
