"""What holds for every test: examples that hypothesis finds are judged by what they show, not by how long they took.

A disk that another test keeps busy is no fault of the example; what must be quick has a test of its own.
"""

from hypothesis import settings

settings.register_profile("without a deadline", settings.default, deadline=None)
settings.load_profile("without a deadline")
