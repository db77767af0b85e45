# SPDX-License-Identifier: Apache-2.0
"""The include check sees planted violations, and finds none in our source."""

import pathlib
import tempfile
import unittest

import include_layers

SOURCE = pathlib.Path(__file__).parents[2] / "src"


def found_in(folder, line):
    with tempfile.TemporaryDirectory() as root:
        path = pathlib.Path(root) / "streamline" / folder
        path.mkdir(parents=True)
        (path / "planted.cpp").write_text(line + "\n", encoding="utf-8")
        return include_layers.violations(pathlib.Path(root))


class IncludeLayers(unittest.TestCase):
    def test_our_includes_point_down(self):
        self.assertEqual(include_layers.violations(SOURCE), [])

    def test_the_source_is_where_it_is_looked_for(self):
        self.assertGreater(len(list(SOURCE.glob("streamline/*/*.h"))), 20)

    def test_an_upward_include_is_seen(self):
        self.assertIn("io includes streamline/nn/block.h", found_in("io", '#include "streamline/nn/block.h"')[0])
        self.assertIn("surgery includes", found_in("surgery", '#include "streamline/heal/trainer.h"')[0])

    def test_torch_in_the_torch_free_half_is_seen(self):
        self.assertIn("free of torch", found_in("plan", "#include <torch/torch.h>")[0])
        self.assertIn("free of torch", found_in("report", "#  include <ATen/ATen.h>")[0])

    def test_a_folder_outside_the_table_is_seen(self):
        self.assertIn("not in the layer table", found_in("helpers", "")[0])

    def test_a_path_that_hides_its_folder_is_seen(self):
        self.assertIn("write the path from src", found_in("io", '#include "../nn/block.h"')[0])

    def test_a_downward_include_is_fine(self):
        self.assertEqual(found_in("nn", '#include <torch/torch.h>\n#include "streamline/arch/config.h"'), [])


if __name__ == "__main__":
    unittest.main()
