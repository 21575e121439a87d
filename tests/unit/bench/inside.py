# SPDX-License-Identifier: Apache-2.0
"""An engine without isolation and a root without files: what workloads run is what a test has planned, by sh; and whatever
it is that they count, there are CALLS of it."""
import contextlib
import pathlib
import types

from engines.base import Engine, Instance
from workloads import counts
from workloads.base import Context

CALLS = 1000


@contextlib.contextmanager
def counted(*_, **__):
    yield counts.Count(values={"system_calls": CALLS})


counts.counted = counted


class Planned(Instance):
    def inside(self, argv):
        return self.engine.plan(*map(str, argv))


class Sh(Engine):
    """@argv: of its instances, whatever they are asked for. @plan: from a command within to the argv that is run instead;
    @beside: from one on the host, the same."""
    name = title = "sh"

    def __init__(self, argv, plan=None, beside=None, seconds=0.1):
        super().__init__(Context(pathlib.Path("/nonexistent"), seconds=seconds))
        self.context.data = lambda: contextlib.nullcontext(pathlib.Path("/nonexistent"))
        self.argv, self.plan = argv, plan
        self.root = types.SimpleNamespace(command=lambda *words: beside(*map(str, words)))

    def start(self, spec):
        self.asked = spec
        return Planned(self, self.new_name(), self.argv(spec) if callable(self.argv) else self.argv, spec)


def printing(text, status=0):
    """The argv that prints it."""
    return ["sh", "-c", 'printf "%s" "$1"; exit "$2"', "sh", text, str(status)]
