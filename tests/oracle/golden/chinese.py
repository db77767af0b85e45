# SPDX-License-Identifier: Apache-2.0
"""Questions in the layouts of CLUE and FewCLUE, made up."""

import json

from golden.layout import Golden, behind, lines, one, whole


def c3():
    dialogues = [
        [
            ["男：你好吗？", "女：我很好。"],
            [{"question": "女的怎么样？", "choice": ["很好", "不好", "累"], "answer": "很好"}],
            "11-1",
        ]
    ]
    texts = [
        [
            ["从前有一只狗。它很聪明。"],
            [
                {"question": "狗怎么样？", "choice": ["笨", "聪明"], "answer": "聪明"},
                {"question": "有几只狗？", "choice": ["一", "二", "三", "四"], "answer": "一"},
            ],
            "m1-2",
        ]
    ]
    asked = [
        (" ".join(p), q["question"], q["choice"], q["choice"].index(q["answer"]))
        for p, qs, _ in dialogues + texts
        for q in qs
    ]
    forms = [
        (f"{i}/{n}", "\n".join([*p, q["question"]]), q["choice"], q["choice"].index(q["answer"]))
        for p, qs, i in dialogues + texts
        for n, q in enumerate(qs)
    ]
    return Golden(
        [
            {"c3/d-dev.json": json.dumps(dialogues), "c3/m-dev.json": json.dumps(texts, ensure_ascii=False, indent=1)},
            {"CLUE/C3/dev_0.json": json.dumps(dialogues + texts)},
            {"c3_dev.jsonl": one(forms)},
        ],
        lm_eval=[behind(f"文章：{p}\n问题：{q}\n答案：", c, y) for p, q, c, y in asked],
        opencompass={0: [whole([f"文章：{p}\n问题：{q}\n答案：{a}" for a in c], y) for p, q, c, y in asked]},
    )


def chid():
    idioms = ["一心一意", "三心二意", "画蛇添足", "守株待兔", "井底之蛙", "亡羊补牢", "刻舟求剑"]
    native = [
        {"id": 0, "content": "他做事#idiom#,从不分心。", "candidates": idioms, "answer": 0},
        {"id": 6, "content": "#idiom#,为时未晚", "candidates": idioms, "answer": 5},
    ]
    forms = [(str(x["id"]), x["content"], idioms, x["answer"]) for x in native]
    scored = []
    for x in native:
        before, after = x["content"].split("#idiom#")
        scored.append(behind(before, [i + after for i in idioms], x["answer"]))
    return Golden(
        [{"FewCLUE/chid/test_public.json": lines(native)}, {"chid_fewclue_test.jsonl": one(forms)}],
        lm_eval=scored,
        opencompass={
            0: [
                whole(
                    [f"以下句子是否通顺？\n{x['content'].replace('#idiom#', i)}\n这个句子是通顺的。" for i in idioms],
                    x["answer"],
                )
                for x in native
            ]
        },
    )


def nli(native_file, form_file):
    names, answers = ["contradiction", "entailment", "neutral"], ["矛盾", "蕴含", "无关"]
    texts = [
        ("他在跑步", "他在运动。", "entailment"),
        ("天黑了", "天没有黑", "contradiction"),
        ("她来了", "她很高兴", "neutral"),
    ]
    native = [{"sentence1": a, "sentence2": b, "label": y} for a, b, y in texts]
    native.insert(1, {"sentence1": "甲", "sentence2": "乙", "label": "-"})
    order = ["entailment", "neutral", "contradiction"]
    forms = [(str(i), f"{a}？{b}", order, order.index(y)) for i, (a, b, y) in enumerate(texts)]
    asked = [(f"语句一：“{a}”\n语句二：“{b}”\n请问这两句话是什么关系？\n", names.index(y)) for a, b, y in texts]
    return Golden(
        [{native_file: lines(native)}, {form_file: one(forms)}],
        lm_eval=[behind(text + "答案：", answers, y) for text, y in asked],
        opencompass={0: [whole([text + a for a in answers], y) for text, y in asked]},
    )


SETS = {
    "c3": c3(),
    "chid": chid(),
    "cmnli": nli("CLUE/cmnli/cmnli_public/dev.json", "cmnli_dev.jsonl"),
    "ocnli": nli("FewCLUE/ocnli/test_public.json", "ocnli_fewclue_test.jsonl"),
}
