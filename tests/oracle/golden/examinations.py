# SPDX-License-Identifier: Apache-2.0
"""Questions in the layouts of RACE, MMLU and CMMLU, made up."""

import json

from golden.layout import L4, Golden, behind, lines, one, whole

RACE = [
    {
        "id": "high1.txt",
        "article": "Tom has two cats. They sleep.",
        "questions": ["How many cats has Tom?", "Tom has  _  .", "What do they do?"],
        "options": [
            ["one", "two", "three", "four"],
            ["cats", "dogs", "fish", "birds"],
            ["run", "sing", "sleep", "eat"],
        ],
        "answers": ["B", "A", "C"],
    },
    {
        "id": "high2.txt",
        "article": "It rained.\n\nThen it stopped.",
        "questions": ["The rain  _  ."],
        "options": [["stopped", "froze", "burned", "sang"]],
        "answers": ["A"],
    },
]
ASKED = [(x["article"], q, o, L4.index(a)) for x in RACE for q, o, a in zip(x["questions"], x["options"], x["answers"])]


def race_files(level):
    files = {f"RACE/test/{level}/{i + 1}.txt": json.dumps(x) for i, x in enumerate(RACE)}
    flat = [
        {"example_id": x["id"], "article": x["article"], "question": q, "options": o, "answer": a}
        for x in RACE
        for q, o, a in zip(x["questions"], x["options"], x["answers"])
    ]
    return files, {f"race/test/{level}.jsonl": lines(flat)}


def race_level(level):
    files, flat = race_files(level)
    head = "Read the article, and answer the question by replying A, B, C or D.\n\nArticle:\n"
    texts = [
        [f"{head}{p}\n\nQ: {q}\n\nA. {o[0]}\nB. {o[1]}\nC. {o[2]}\nD. {o[3]}\nA: {a}" for a in L4]
        for p, q, o, _ in ASKED
    ]
    forms = [(f"{i}", f"{p}\n\n{q}", o, y) for i, (p, q, o, y) in enumerate(ASKED)]
    return Golden(
        [files, flat, {f"race_{level}_test.jsonl": one(forms)}],
        lm_eval=[behind(f"Article: {p}\n\nQuestion: {q}\nAnswer:", o, y, " ") for p, q, o, y in ASKED],
        opencompass={0: [whole(text, x[3]) for text, x in zip(texts, ASKED)]},
    )


def race():
    problems = [
        [{"question": q, "options": o, "answer": a} for q, o, a in zip(x["questions"], x["options"], x["answers"])]
        for x in RACE
    ]
    documents = [{"article": x["article"], "problems": str(p)} for x, p in zip(RACE, problems)]
    return Golden(list(race_files("high")), "race/race.yaml", documents)


def mmlu():
    test = [
        ("anatomy", " Where is the heart?", ["chest", "foot", "hand", "ear, left"], 0),
        ("anatomy", "How many\neyes?", ["1", "2", "3", "4"], 1),
        ("world_religions", '"Nirvana" is of?', ["Buddhism", "Zeus", "Thor", "Ra"], 0),
    ]
    dev = [
        ("anatomy", "What beats?", ["a heart", "a hair", "a nail", "a tooth"], 0),
        ("anatomy", "What sees?", ["ear", "eye", "knee", "toe"], 1),
        ("world_religions", "Who wrote?", ["x", "y", "z", "w"], 3),
        ("world_religions", "Who sang?", ["p", "q", "r", "s"], 2),
    ]

    def cell(text):
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text

    def table(items, subject):
        return "".join(",".join(map(cell, [q, *c, L4[y]])) + "\n" for s, q, c, y in items if s == subject)

    native = {}
    for subject in ("anatomy", "world_religions"):
        native[f"mmlu/test/{subject}_test.csv"] = table(test, subject)
        native[f"mmlu/dev/{subject}_dev.csv"] = table(dev, subject)

    def forms(items):
        return one((f"{s}/{i}", q, c, y, s) for i, (s, q, c, y) in enumerate(items))

    def asked(q, c, a):
        return f"{q}\nA. {c[0]}\nB. {c[1]}\nC. {c[2]}\nD. {c[3]}\nAnswer: {a}"

    def text(item, a):
        subject = item[0]
        shown = [asked(q, c, L4[y]) + "\n" for s, q, c, y in dev if s == subject]
        return (
            f"The following are multiple choice questions (with answers) about  {subject.replace('_', ' ')}.\n\n"
            + "\n".join(shown)
            + "\n"
            + asked(item[1], item[2], a)
        )

    documents = [{"subject": s, "question": q, "choices": c, "answer": y} for s, q, c, y in test]
    examples = [{"subject": s, "question": q, "choices": c, "answer": y} for s, q, c, y in dev]
    return Golden(
        [native, {"mmlu_test.jsonl": forms(test), "mmlu_dev.jsonl": forms(dev)}],
        "mmlu/default/_default_template_yaml",
        documents,
        examples,
        changes={"description": "The following are multiple choice questions (with answers) about {}.\n\n"},
        opencompass={2: [whole([text(item, a) for a in L4], item[3]) for item in test]},
    )


def cmmlu():
    subjects = {"agronomy": "农学", "arts": "艺术学"}
    test = [
        ("agronomy", " 水稻喜欢什么？", ["水", "沙", "雪", "冰"], 0),
        ("arts", "画家用什么？", ["笔", "锄", "锅", "船"], 0),
    ]
    dev = [
        ("agronomy", "小麦是什么？", ["鱼", "粮食", "石头", "鸟"], 1),
        ("arts", "钢琴有什么？", ["琴键", "叶子", "轮子", "帆"], 0),
    ]

    def table(items, subject):
        rows = [f"{i},{q},{','.join(c)},{L4[y]}\n" for i, (s, q, c, y) in enumerate(items) if s == subject]
        return ",Question,A,B,C,D,Answer\n" + "".join(rows)

    native = {
        f"cmmlu/{split}/{s}.csv": table(items, s) for s in subjects for split, items in (("test", test), ("dev", dev))
    }

    def forms(items):
        return one((f"{s}/0", q, c, y, s) for s, q, c, y in items)

    def documents(items):
        return [{"subject": s, "Question": q, **dict(zip(L4, c)), "Answer": L4[y]} for s, q, c, y in items]

    def asked(item, a):
        s, q, c, _ = item
        head = f"以下是关于{subjects[s]}的单项选择题，请直接给出正确答案的选项。\n题目：{q}\n"
        return head + f"A. {c[0]}\nB. {c[1]}\nC. {c[2]}\nD. {c[3]}\n答案是: {a}"

    return Golden(
        [native, {"cmmlu_test.jsonl": forms(test), "cmmlu_dev.jsonl": forms(dev)}],
        "cmmlu/_default_template_yaml",
        documents(test),
        documents(dev),
        changes={"description": "以下是关于{}的单项选择题，请直接给出正确答案的选项。\n\n", "names": subjects},
        opencompass={
            1: [
                whole([asked(shown, L4[shown[3]]) + "\n" + asked(item, a) for a in L4], item[3])
                for item, shown in zip(test, dev)
            ]
        },
    )


SETS = {
    "race": race(),
    "race_middle": race_level("middle"),
    "race_high": race_level("high"),
    "mmlu": mmlu(),
    "cmmlu": cmmlu(),
}
