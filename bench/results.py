# SPDX-License-Identifier: Apache-2.0
"""The results of a run: one JSON file, as schema.json says, and questions about what is in it.

A file is replaced as a whole, so that whatever ends a run leaves what was saved last.
"""
import json
import math
import os
import pathlib
import sys
import tempfile

import stats

SCHEMA = pathlib.Path(__file__).with_name("schema.json")
ID = "kvmbox-bench-1"
# Why a run is not complete.
BEGUN = "it was broken off"  # as long as nobody has said more
INTERRUPTED = "interrupted by the user"
KINDS = {"object": "an object", "array": "an array", "string": "a string", "integer": "a whole number",
         "number": "a number", "boolean": "true or false", "null": "null"}


class Problem(Exception):
    """What went wrong, in one sentence for the user."""


def say(sentence):
    """Tells the user, on standard error; a terminal sees nothing but letters of it."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in sentence)
    print(f"kvmbox: bench: {shown}", file=sys.stderr, flush=True)


class Results:
    """What @data, the JSON of a run, has to say. Samples may be added to @data all the while."""

    def __init__(self, data):
        self.data = data
        self._by_key, self._sorted = {}, 0

    def _samples(self):
        """{(workload, metric, engine): [(round, value)]}"""
        for each in self["samples"][self._sorted:]:
            self._by_key.setdefault((each["workload"], each["metric"], each["engine"]), []).append(
                (each["round"], each["value"]))
        self._sorted = len(self["samples"])
        return self._by_key

    def __getitem__(self, key):
        return self.data[key]

    def engine(self, name):
        return next((each for each in self["engines"] if each["name"] == name), None)

    def workload(self, name):
        return next((each for each in self["workloads"] if each["name"] == name), None)

    def where(self, failure):
        """What it is of, as it is told; rounds are counted from one there."""
        return (f"{self.workload(failure['workload'])['title']}, {self.engine(failure['engine'])['title']}, "
                f"round {failure['round'] + 1}")

    def metrics(self, workload):
        return [each for each in self["metrics"] if each["workload"] == workload]

    def engines_of(self, workload, metric):
        """The engines that have samples of it, in the order of the run."""
        samples = self._samples()
        return [each for each in self["engines"] if (workload, metric, each["name"]) in samples]

    def measured(self, workload):
        """The names of the engines that have any samples of it."""
        return {engine for name, _, engine in self._samples() if name == workload}

    def values(self, workload, metric, engine):
        """All that was measured: a list of (round, value)."""
        return self._samples().get((workload, metric, engine), [])

    def rounds(self, workload, metric, engine):
        """What is compared: a value for each round, the median of those that it has."""
        by_round = {}
        for number, value in self.values(workload, metric, engine):
            by_round.setdefault(number, []).append(value)
        return [stats.median(by_round[number]) for number in sorted(by_round)]

    @property
    def emulated(self):
        return self["machine"]["virtualisation"] == "emulated"

    @property
    def interrupted(self):
        """A sentence, or None where the run is complete."""
        if self["complete"]:
            return None
        done = len({each["round"] for each in self["samples"]})
        why = (self["why_incomplete"] or "it does not say why").rstrip(".")
        return (f"This run is not complete ({why}): of {self['method']['rounds']} rounds there "
                f"{'is' if done == 1 else 'are'} {done}, of which the last may lack some.")


def save(data, path):
    """Writes @data to the file @path."""
    try:
        text = json.dumps(data, indent=1, allow_nan=False)
    except ValueError as error:
        raise Problem(f"cannot write {path}: a value is not a finite number ({error})") from None
    write(path, f"{text}\n")


def write(path, text):
    """Makes @text what the file @path holds, which until then stays what it was."""
    path = pathlib.Path(path)
    temporary = None
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe
            path.write_text(text, encoding="utf-8")
            return
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False,
                                         encoding="utf-8") as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        kept = "; what it held before is still there" if path.is_file() else ""
        raise Problem(f"cannot write {path}: {error.strerror}{kept}") from None
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def load(path):
    """The Results in the file @path, or a Problem."""
    return Results(_parse(_read(path), path))


def _read(path):
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Problem(f"{path} is not a file of results: it is not text") from None


def _parse(text, path):
    def refuse(constant):
        raise Problem(f"{path} has {constant} in it, which is no number of JSON")

    if not text.strip():
        raise Problem(f"{path} is empty, and should hold the results of kvmbox bench")
    try:
        data = json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise Problem(f"{path} is not JSON, or not all of it: line {error.lineno}, column {error.colno}: "
                      f"{error.msg}") from None
    except (RecursionError, ValueError):
        raise Problem(f"{path} is no file of results: it is nested too deeply, or a number has too many "
                      "digits") from None
    check(data, path)
    return data


def check(data, path):
    """A Problem where @data, from the file @path, is not what schema.json says, or does not fit together."""
    if not isinstance(data, dict) or "schema" not in data:
        raise Problem(f"{path} is JSON, but not the results of kvmbox bench: it has no \"schema\"")
    if data["schema"] != ID:
        raise Problem(f"{path} has the schema {_show(data['schema'])}, and this kvmbox reads \"{ID}\"")
    first = _first_error(data)
    if first:
        raise Problem(f"{path}: {first}")
    sentence = _misfit(data)
    if sentence:
        raise Problem(f"{path}: {sentence}")


def _first_error(data):
    """What schema.json has against @data first of all: a sentence, or None."""
    try:
        import jsonschema
    except ImportError:
        raise Problem("python3 has no module jsonschema: install the package python3-jsonschema") from None
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    error = next(validator.iter_errors(data), None)
    return _explain(error) if error else None


def _show(value, most=60):
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= most else text[:most] + "..."


def _place(path):
    """samples[3].value"""
    words = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return words.removeprefix(".")


def _explain(error):
    """One sentence for an error of jsonschema."""
    place, wanted = _place(error.absolute_path), error.validator_value
    place = place or "the file"
    match error.validator:
        case "required":
            lacking = [name for name in wanted if name not in error.instance]
            return f"{place} has no \"{lacking[0]}\""
        case "additionalProperties":
            known = error.schema["properties"]
            return f"{place} has \"{next(name for name in error.instance if name not in known)}\", which is not known"
        case "type":
            kinds = " or ".join(KINDS[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted))
            return f"{place} is {_show(error.instance)}, and should be {kinds}"
        case "enum":
            return f"{place} is {_show(error.instance)}, and should be one of {', '.join(map(_show, wanted))}"
        case "minimum":
            return f"{place} is {_show(error.instance)}, and should be {wanted} or more"
        case "minLength":
            return f"{place} is empty"
        case "pattern":
            what = {"made": "a time as RFC 3339 has it", "root": "a SHA-256 in hexadecimal"}.get(
                error.absolute_path[-1], "a name of small letters, digits, and \"-\", \"_\" and \".\"")
            return f"{place} is {_show(error.instance)}, and should be {what}"
    return f"{place} is {_show(error.instance)}: {error.message[:200]}"


def _is_finite(number):
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _misfit(data):
    """What a schema cannot say: that names are defined once and used as they are. A sentence, or None."""
    engines = [each["name"] for each in data["engines"]]
    workloads = [each["name"] for each in data["workloads"]]
    metrics = [(each["workload"], each["metric"]) for each in data["metrics"]]
    for kind, names in (("engines", engines), ("workloads", workloads), ("metrics", metrics)):
        twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if twice:
            return f"{kind} has {_show(twice)} twice"
    engines, workloads, metrics = set(engines), set(workloads), set(metrics)
    for kind in ("metrics", "samples", "series", "outcomes", "failures"):
        for index, each in enumerate(data[kind]):
            if each["workload"] not in workloads:
                return f"{kind}[{index}] is of the workload {_show(each['workload'])}, which workloads does not have"
            if "engine" in each and each["engine"] not in engines:
                return f"{kind}[{index}] is of the engine {_show(each['engine'])}, which engines does not have"
            if "metric" in each and (each["workload"], each["metric"]) not in metrics:
                return f"{kind}[{index}] is of the metric {_show(each['metric'])}, which metrics does not have"
    for index, each in enumerate(data["samples"]):
        if not _is_finite(each["value"]):
            return f"samples[{index}].value is too large a number"
    for index, each in enumerate(data["series"]):
        if not all(map(_is_finite, each["t"] + each["value"])):
            return f"series[{index}] has too large a number in it"
        if len(each["t"]) != len(each["value"]):
            return f"series[{index}] has {len(each['t'])} times and {len(each['value'])} values"
        if any(later < earlier for earlier, later in zip(each["t"], each["t"][1:])):
            return f"series[{index}].t does not ascend"
    if not data["complete"] and not data["why_incomplete"]:
        return "complete is false, but why_incomplete does not say why"
    return None
