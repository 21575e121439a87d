# SPDX-License-Identifier: Apache-2.0
"""Where the tests of the benchmark find what they test. Import it first."""
import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parent
BENCH = TESTS.parent.parent.parent / "bench"
sys.dont_write_bytecode = True
sys.path.insert(0, str(BENCH))
