# SPDX-License-Identifier: Apache-2.0
"""Data files as sets are published, and prompts as values: what the made-up questions are written with."""

import json

L4 = ["A", "B", "C", "D"]


def lines(objects):
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects)


def one(items):
    """Questions in one form: (id, context, choices, label[, subject])."""
    keys = ["id", "context", "choices", "label", "subject"]
    return lines(dict(zip(keys, item)) for item in items)


def question(contexts, continuations, gold, lengths):
    return {"contexts": contexts, "continuations": continuations, "characters": lengths, "gold": gold}


def whole(texts, gold):
    return question([""] * len(texts), texts, gold, None)


def behind(context, choices, gold, delimiter=""):
    return question(
        [context] * len(choices), [delimiter + choice for choice in choices], gold, [len(c) for c in choices]
    )


class Golden:
    """One task: `files` in published layouts, each layout a mapping of its own; `documents` as the hub has them."""

    def __init__(
        self, layouts, stock=None, documents=None, examples=None, changes=None, lm_eval=None, opencompass=None
    ):
        self.layouts, self.stock, self.documents, self.examples = layouts, stock, documents, examples
        self.changes, self.lm_eval, self.opencompass = changes or {}, lm_eval, opencompass or {}


def letters(count):
    return ["A", "B", "C", "D", "E"][:count]
