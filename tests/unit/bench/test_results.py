# SPDX-License-Identifier: Apache-2.0
"""Files of results: what is written is read again, and each broken one gives one clear sentence."""
import copy
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

import here
import fake
import results


class Files(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.path = self.directory / "r.json"

    def sentence(self, text):
        """What load() has against a file with this text (or bytes)."""
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with self.assertRaises(results.Problem) as caught:
            results.load(self.path)
        said = str(caught.exception)
        self.assertIn(str(self.path), said)
        self.assertNotIn("\n", said)
        self.assertLess(len(said), 400)
        return said.replace(str(self.path), "FILE")

    def test_what_is_saved_is_loaded(self):
        data = fake.make()
        results.save(data, self.path)
        self.assertEqual(results.load(self.path).data, data)
        self.assertEqual([each.name for each in self.directory.iterdir()], ["r.json"])
        # Saved again, it is another file in the place of that, whole at every moment.
        with self.path.open() as before:
            results.save(fake.make(rounds=1), self.path)
            self.assertEqual(json.load(before), data)

    def test_no_such_file(self):
        with self.assertRaisesRegex(results.Problem, r"^cannot read .*none\.json: No such file or directory$"):
            results.load(self.directory / "none.json")
        with self.assertRaisesRegex(results.Problem, "^cannot read .*: Is a directory$"):
            results.load(self.directory)

    def test_not_json(self):
        whole = json.dumps(fake.make(rounds=1))
        self.assertEqual(self.sentence(""), "FILE is empty, and should hold the results of kvmbox bench")
        self.assertRegex(self.sentence(whole[:len(whole) // 2]), "^FILE is not JSON, or not all of it: line 1, column [0-9]+: ")
        self.assertEqual(self.sentence(b"\xff\xfe\0"), "FILE is not a file of results: it is not text")
        self.assertEqual(self.sentence('{"schema": "kvmbox-bench-1", "rounds": NaN}'),
                         "FILE has NaN in it, which is no number of JSON")
        self.assertIn("nested too deeply", self.sentence("[" * 100000))
        self.assertIn("too many digits", self.sentence("1" * 10000))

    def test_other_json(self):
        for text in ("[]", "3", "null", "{}", '{"a": 1}'):
            self.assertIn("not the results of kvmbox bench", self.sentence(text))
        self.assertEqual(self.sentence('{"schema": "kvmbox-bench-2"}'),
                         'FILE has the schema "kvmbox-bench-2", and this kvmbox reads "kvmbox-bench-1"')

    def test_broken_in_one_place(self):
        def at(*path, value):
            def change(data):
                for step in path[:-1]:
                    data = data[step]
                data[path[-1]] = value
            return change

        def without(*path):
            def change(data):
                for step in path[:-1]:
                    data = data[step]
                del data[path[-1]]
            return change

        cases = (
            (without("machine"), 'the file has no "machine"'),
            (without("samples", 3, "engine"), 'samples[3] has no "engine"'),
            (at("samples", 3, "value", value="fast"), 'samples[3].value is "fast", and should be a number'),
            (at("samples", 3, "value", value=True), "samples[3].value is true, and should be a number"),
            (at("samples", 3, "value", value=10**400), "samples[3].value is too large a number"),
            (at("samples", 3, "round", value=-1), "samples[3].round is -1, and should be 0 or more"),
            (at("samples", 3, "round", value=1.5), "samples[3].round is 1.5, and should be a whole number"),
            (at("samples", 3, "engine", value="nobody"), 'samples[3] is of the engine "nobody", which engines does not have'),
            (at("samples", 3, "metric", value="idle"), 'samples[3] is of the metric "idle", which metrics does not have'),
            (at("outcomes", 0, "workload", value="x"), 'outcomes[0] is of the workload "x", which workloads does not have'),
            (at("metrics", 0, "better", value="smaller"),
             'metrics[0].better is "smaller", and should be one of "lower", "higher", null'),
            (at("metrics", 1, "metric", value="first_instruction"), 'metrics has ["start", "first_instruction"] twice'),
            (at("engines", 0, "name", value="kvmbox"), 'engines has "kvmbox" twice'),
            (at("engines", 0, "name", value="<b>"),
             'engines[0].name is "<b>", and should be a name of small letters, digits, and "-", "_" and "."'),
            (at("engines", 0, "colour", value="red"), 'engines[0] has "colour", which is not known'),
            (at("extra", value=1), 'the file has "extra", which is not known'),
            (at("made", value="yesterday"), 'made is "yesterday", and should be a time as RFC 3339 has it'),
            (at("workloads", 0, "root", value="abc"), 'workloads[0].root is "abc", and should be a SHA-256 in hexadecimal'),
            (at("workloads", 0, "title", value=""), "workloads[0].title is empty"),
            (at("machine", "virtualisation", value="yes"), 'machine.virtualisation is "yes", and should be one of "hardware", '
             '"nested", "emulated", "none"'),
            (at("complete", value=False), "complete is false, but why_incomplete does not say why"),
            (at("command", value="kvmbox bench"), 'command is "kvmbox bench", and should be an array'),
            (at("series", 0, "t", value=[1, 2]), "series[0] has 2 times and 120 values"),
            (at("series", 0, "t", 1, value=-11), "series[0].t does not ascend"),
        )
        good = fake.make(rounds=1)
        for change, said in cases:
            data = copy.deepcopy(good)
            change(data)
            self.assertEqual(self.sentence(json.dumps(data)), f"FILE: {said}")

    def test_one_interrupted(self):
        data = fake.make(complete=False)
        results.save(data, self.path)
        said = results.load(self.path).interrupted
        self.assertEqual(said, "This run is not complete (interrupted by the user): of 10 rounds there are 6, of which the "
                         "last may lack some.")
        self.assertIsNone(results.Results(fake.make()).interrupted)

    def test_full_disk_keeps_what_was_saved(self):
        data = fake.make(rounds=1)
        results.save(data, self.path)
        with unittest.mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
            with self.assertRaises(results.Problem) as caught:
                results.save(fake.make(rounds=2), self.path)
        self.assertEqual(str(caught.exception),
                         f"cannot write {self.path}: No space left on device; what it held before is still there")
        self.assertEqual(results.load(self.path).data, data)
        self.assertEqual([each.name for each in self.directory.iterdir()], ["r.json"])

    def test_nowhere_to_write(self):
        with self.assertRaisesRegex(results.Problem, "^cannot write .*/none/r.json: No such file or directory$"):
            results.save(fake.make(rounds=1), self.directory / "none" / "r.json")
        with self.assertRaisesRegex(results.Problem, "^cannot write .*: Is a directory$"):
            results.save(fake.make(rounds=1), self.directory)

    def test_no_number_is_saved(self):
        data = fake.make(rounds=1)
        data["samples"][0]["value"] = float("nan")
        with self.assertRaisesRegex(results.Problem, "a value is not a finite number"):
            results.save(data, self.path)
        self.assertFalse(self.path.exists())

    def test_without_jsonschema(self):
        results.save(fake.make(rounds=1), self.path)
        script = ("import sys; sys.path.insert(0, sys.argv[1]); sys.modules['jsonschema'] = None; import results\n"
                  "try: results.load(sys.argv[2])\nexcept results.Problem as problem: print(problem)")
        said = subprocess.run([sys.executable, "-B", "-c", script, str(here.BENCH), str(self.path)], capture_output=True,
                              text=True, check=True).stdout
        self.assertRegex(said, r"^.*python3 has no module jsonschema: install the package python3-jsonschema\n$")


class Questions(unittest.TestCase):
    def test_rounds_are_medians(self):
        data = fake.make(rounds=2)
        data["samples"] = [{"workload": "start", "metric": "first_answer", "engine": "kvmbox", "round": number, "value": value}
                           for number, value in ((1, 5), (0, 1), (0, 9), (0, 2), (1, 7))]
        asked = results.Results(data)
        self.assertEqual(asked.rounds("start", "first_answer", "kvmbox"), [2, 6])
        self.assertEqual(asked.rounds("start", "first_answer", "lxc"), [])
        self.assertEqual([each["name"] for each in asked.engines_of("start", "first_answer")], ["kvmbox"])

    def test_schema_is_one(self):
        import jsonschema
        schema = json.loads(results.SCHEMA.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        self.assertEqual(schema["$id"], results.ID)
        self.assertTrue(re.match(schema["properties"]["made"]["pattern"], "2026-11-29T01:02:03+01:00"))


if __name__ == "__main__":
    unittest.main()
