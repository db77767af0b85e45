# SPDX-License-Identifier: Apache-2.0
"""Questions in the layouts of sets of school science, made up."""

from golden.layout import Golden, letters, lines, one

STEMS = [
    ("Which of these is hot?", ["ice", "fire", "snow", "rain"], 1),
    ("What do cows eat?", ["grass", "stone", "iron", "glass"], 0),
]


def arc(name):
    native = [
        {
            "id": f"M_{i}",
            "question": {"stem": q, "choices": [{"text": t, "label": mark} for t, mark in zip(c, marks)]},
            "answerKey": marks[y],
        }
        for i, ((q, c, y), marks) in enumerate(zip(STEMS, (letters(4), ["1", "2", "3", "4"])))
    ]
    documents = [
        {
            "id": x["id"],
            "question": x["question"]["stem"],
            "answerKey": x["answerKey"],
            "choices": {k: [c[k] for c in x["question"]["choices"]] for k in ("text", "label")},
        }
        for x in native
    ]
    part = name.split("_")[1].title()
    return Golden(
        [
            {
                f"ARC-V1-Feb2018-2/ARC-{part}/ARC-{part}-Test.jsonl": lines(native),
                f"ARC-V1-Feb2018-2/ARC-{part}/ARC-{part}-Train.jsonl": lines(native),
            },
            {f"{name}_test.jsonl": one((f"M_{i}", *stem) for i, stem in enumerate(STEMS))},
        ],
        f"arc/{name}.yaml",
        documents,
        documents,
    )


def openbookqa():
    native = [
        {
            "id": f"7-{i}",
            "question": {"stem": q, "choices": [{"text": t, "label": mark} for t, mark in zip(c, letters(4))]},
            "answerKey": letters(4)[y],
        }
        for i, (q, c, y) in enumerate(STEMS)
    ]
    documents = [
        {"question_stem": q, "answerKey": letters(4)[y], "choices": {"text": c, "label": letters(4)}}
        for q, c, y in STEMS
    ]
    return Golden(
        [
            {
                "OpenBookQA-V1-Sep2018/Data/Main/test.jsonl": lines(native),
                "OpenBookQA-V1-Sep2018/Data/Main/train.jsonl": lines(native),
            },
            {"openbookqa_test.jsonl": one((f"7-{i}", *stem) for i, stem in enumerate(STEMS))},
        ],
        "openbookqa/openbookqa.yaml",
        documents,
        documents,
    )


SETS = {"arc_easy": arc("arc_easy"), "arc_challenge": arc("arc_challenge"), "openbookqa": openbookqa()}
