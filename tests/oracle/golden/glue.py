# SPDX-License-Identifier: Apache-2.0
"""Questions in the layouts of GLUE and SuperGLUE, made up."""

from golden.layout import Golden, lines, one, whole


def boolq():
    texts = [
        ("Salt -- Salt is a mineral.", "is salt a mineral", True),
        ("Moon -- It has no air.\nQuestion: none?", "is there air on the moon", False),
    ]
    native = [{"question": q, "passage": p, "idx": i, "label": y} for i, (p, q, y) in enumerate(texts)]
    first = [
        {"question": q, "title": p.split(" -- ")[0], "passage": p.split(" -- ")[1], "answer": y} for p, q, y in texts
    ]
    documents = [{**x, "label": int(x["label"])} for x in native]
    return Golden(
        [
            {"BoolQ/val.jsonl": lines(native), "BoolQ/train.jsonl": lines(native)},
            {"boolq/dev.jsonl": lines(first), "boolq/train.jsonl": lines(first)},
            {
                "boolq_val.jsonl": one(
                    (i, f"{p}\nQuestion: {q}?\nAnswer:", ["no", "yes"], int(y)) for i, (p, q, y) in enumerate(texts)
                )
            },
        ],
        "super_glue/boolq/default.yaml",
        documents,
        documents,
        opencompass={0: [whole([f"{p}\nQuestion: {q}?\n{a}" for a in ("No", "Yes")], int(y)) for p, q, y in texts]},
    )


def copa():
    native = [
        {
            "premise": "The lamp went out.",
            "choice1": "The bulb broke.",
            "choice2": "It was loud.",
            "question": "cause",
            "label": 0,
            "idx": 0,
        },
        {
            "premise": "Rain fell. ",
            "choice1": "The sun set.",
            "choice2": "The street got wet.",
            "question": "effect",
            "label": 1,
            "idx": 1,
        },
    ]
    forms = [
        ("0", "The lamp went out because", ["The bulb broke.", "It was loud."], 0),
        ("1", "Rain fell so", ["The sun set.", "The street got wet."], 1),
    ]
    train = [
        {
            "premise": "Snow melted.",
            "choice1": "It got warm.",
            "choice2": "It got dark.",
            "question": "cause",
            "label": 0,
            "idx": 2,
        }
    ]
    return Golden(
        [{"COPA/val.jsonl": lines(native), "COPA/train.jsonl": lines(train)}, {"copa_val.jsonl": one(forms)}],
        "super_glue/copa/default.yaml",
        native,
        train,
    )


def rte():
    texts = [("Paris lies in France.", "Paris is in Europe.", 0), ("A dog barked.", "A cat slept.", 1)]
    names = ["entailment", "not_entailment"]
    table = "index\tsentence1\tsentence2\tlabel\n" + "".join(
        f"{i}\t{a}\t{b}\t{names[y]}\n" for i, (a, b, y) in enumerate(texts)
    )
    native = [{"premise": a, "hypothesis": b, "label": names[y], "idx": i} for i, (a, b, y) in enumerate(texts)]
    forms = [
        (i, f"{a}\nQuestion: {b} True or False?\nAnswer:", ["True", "False"], y) for i, (a, b, y) in enumerate(texts)
    ]
    documents = [{"sentence1": a, "sentence2": b, "label": y} for a, b, y in texts]
    return Golden(
        [
            {"RTE/dev.tsv": table, "RTE/train.tsv": table},
            {"RTE/val.jsonl": lines(native), "RTE/train.jsonl": lines(native)},
            {"rte_val.jsonl": one(forms)},
        ],
        "glue/rte/default.yaml",
        documents,
        documents,
    )


def wsc():
    native = [
        {
            "text": 'The dog chased the cat , because it did n\'t like " it " .',
            "label": True,
            "idx": 0,
            "target": {"span1_index": 0, "span1_text": "the dog", "span2_index": 7, "span2_text": "it"},
        },
        {
            "text": "When Tom called Sam Hill he was out.",
            "label": False,
            "idx": 1,
            "target": {"span1_index": 3, "span1_text": "Sam Hill", "span2_index": 5, "span2_text": "he"},
        },
    ]
    # As the hub has it ("wsc.fixed"): the noun is spelled as in the text.
    documents = [{"text": x["text"], **x["target"], "label": int(x["label"])} for x in native]
    documents[0]["span1_text"] = "The dog"
    passages = [
        '* the dog * chased the cat , because # it # did n\'t like " it " .',
        "When Tom called * Sam Hill * # he # was out.",
    ]
    texts = []
    for passage, x in zip(passages, native):
        pronoun, noun = x["target"]["span2_text"], x["target"]["span1_text"]
        asked = f"Passage: {passage}\nDoes the pronoun # {pronoun} # refer to * {noun} *?\nA. Yes\nB. No\nAnswer: \n"
        texts.append([asked + a for a in "AB"])
    return Golden(
        [{"WSC/val.jsonl": lines(native), "WSC/train.jsonl": lines(native)}],
        "super_glue/wsc/default.yaml",
        documents,
        documents,
        opencompass={0: [whole(texts[0], 0), whole(texts[1], 1)]},
    )


def sst2():
    texts = [("a warm , funny film . ", 1), ("dull ", 0)]
    table = "sentence\tlabel\n" + "".join(f"{s}\t{y}\n" for s, y in texts)
    documents = [{"sentence": s, "label": y} for s, y in texts]
    return Golden(
        [
            {"SST-2/dev.tsv": table, "SST-2/train.tsv": table},
            {"sst2_dev.jsonl": one((i, s, ["negative", "positive"], y) for i, (s, y) in enumerate(texts))},
        ],
        "glue/sst2/default.yaml",
        documents,
        documents,
    )


SETS = {"boolq": boolq(), "copa": copa(), "rte": rte(), "wsc": wsc(), "sst2": sst2()}
