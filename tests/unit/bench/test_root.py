# SPDX-License-Identifier: Apache-2.0
"""The root file system of all engines, as far as it need not be made: what is kept of those that were made before."""
import os
import pathlib
import tempfile
import unittest

import here  # noqa: F401
import root


class Kept(unittest.TestCase):
    def test_the_one_before_is_kept(self):
        with tempfile.TemporaryDirectory() as directory:
            for age, name in enumerate(("newest", "before", "older", "oldest")):
                entry = pathlib.Path(directory) / name
                entry.mkdir()
                (entry / root.IMAGE).write_text("image")
                pathlib.Path(f"{entry}.lock").touch()
                os.utime(entry, (1000 - age, 1000 - age))
            root.forget(pathlib.Path(directory) / "newest")
            self.assertEqual(sorted(os.listdir(directory)), ["before", "before.lock", "newest", "newest.lock"])


if __name__ == "__main__":
    unittest.main()
