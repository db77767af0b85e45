# SPDX-License-Identifier: Apache-2.0
"""A task of a user's own on questions of the shipped text (conftest.py writes both)."""

QUESTIONS = 48
TASK = """
name: sentence_order
about: The true end of a passage, or the same words backwards.
items: 48
sources:
  - file: sentence_order.jsonl
lm-eval:
  context: "{{context}}"
  metrics: [acc, acc_norm]
opencompass:
  text: "{{context}} {{choice}}"
"""


def asked(questions, *arguments):
    return ["--tasks", questions / "sentence_order.yaml", "--data-dir", questions, "--dtype", "float32", *arguments]
