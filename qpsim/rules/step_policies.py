"""Integer codes of the step-size policies in the step loops."""

GIVEN = 0
OPTIMAL = 1
BOUND = 2
LINE_SEARCH = 3
ALL = (GIVEN, OPTIMAL, BOUND, LINE_SEARCH)
