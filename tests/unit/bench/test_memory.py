# SPDX-License-Identifier: Apache-2.0
"""What is told of idle instances, of engines that take what the test says."""
import contextlib
import types
import unittest
import unittest.mock

import here  # noqa: F401
from workloads import counts, memory
from workloads.base import Context, Sample

MIB = 1 << 20


class Engine:
    """An instance takes 10 MiB, and of the host 4; those that idle make @calls system calls each, what serves them 100."""
    kernel = "shared"

    def __init__(self, calls=3):
        self.calls, self.free = calls, 1000 * MIB

    @contextlib.contextmanager
    def start(self, spec):
        self.free -= 4 * MIB
        yield types.SimpleNamespace(engine=self, first_instruction=lambda: None, detach=lambda: None, memory=lambda: 10 * MIB)
        self.free += 4 * MIB


@contextlib.contextmanager
def counted(*instances):
    count = counts.Count()
    yield count
    count.values["system_calls"] = 1000 + len(instances) * instances[0].engine.calls


class Idle(unittest.TestCase):
    def measured(self, engine):
        with (unittest.mock.patch.object(counts, "counted", counted), unittest.mock.patch.object(memory.time, "sleep"),
              unittest.mock.patch.object(memory, "available", lambda: engine.free)):
            found = {}
            for sample in memory.Memory().measure(engine, Context(None, seconds=1, instances=4)):
                self.assertIsInstance(sample, Sample)
                found.setdefault(sample.metric, []).append(sample.value)
            return found

    def test_each(self):
        self.assertEqual(self.measured(Engine()), {"idle": [10 * MIB] * 4, "idle_system_calls": [3], "fit": [99], "host": [4 * MIB]})

    def test_what_the_host_has_less_is_that_of_the_vm(self):
        engine = Engine()
        engine.kernel = "vm"
        self.assertEqual(self.measured(engine).keys(), {"idle", "idle_system_calls"})


if __name__ == "__main__":
    unittest.main()
