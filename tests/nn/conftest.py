"""The helpers of the data tests, reachable from every test of the networks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "data"))
