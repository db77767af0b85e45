# SPDX-License-Identifier: Apache-2.0
"""Questions in the layouts of sets of common sense, made up."""

from golden.layout import Golden, letters, lines, one, whole


def hellaswag():
    from lm_eval.tasks.hellaswag.utils import preprocess

    texts = [
        (
            "Baking bread",
            "A woman stands in a kitchen.",
            "she",
            ["kneads [step] the dough.", "flies away.", "eats  it all. ", "is a chair."],
            0,
        ),
        (
            "Sumo",
            "We see this: two men: they stand.",
            "then the taller man",
            ["bows.", "sinks.", "floats.", "melts."],
            1,
        ),
        (
            "Home and Garden",
            "[header] How to water plants [title] Use a can. [step] Fill it.",
            "",
            ["Pour slowly [title] Then stop.", "Run.", "Sell it.", "Wait."],
            3,
        ),
    ]
    native = [
        {
            "ind": 4 + i,
            "activity_label": a,
            "ctx_a": b,
            "ctx_b": c,
            "ctx": f"{b} {c}",
            "split": "val",
            "split_type": "indomain",
            "endings": d,
            "label": e,
            "source_id": f"x~{i}",
        }
        for i, (a, b, c, d, e) in enumerate(texts)
    ]
    train = [{**native[1], "ctx_a": "He waits.", "ctx_b": "a crowd", "label": 2}]
    documents = [{**each, "label": str(each["label"])} for each in native]
    clean = [(preprocess(f"{a}: {b} {c.capitalize()}"), list(map(preprocess, d)), e) for a, b, c, d, e in texts]
    forms = [(i, preprocess(f"{a}: {b} {c}"), list(map(preprocess, d)), e) for i, (a, b, c, d, e) in enumerate(texts)]
    older = [{"query": q, "choices": c, "gold": y} for q, c, y in clean]
    return Golden(
        [
            {"hellaswag/hellaswag_val.jsonl": lines(native), "hellaswag/hellaswag_train.jsonl": lines(train)},
            {"hellaswag_val.jsonl": one(forms)},
            {"hellaswag/hellaswag.jsonl": lines(older)},
        ],
        "hellaswag/hellaswag.yaml",
        documents,
        [{**each, "label": "2"} for each in train],
        opencompass={0: [whole([q.split(": ", 2)[-1] + "\n" + each for each in c], y) for q, c, y in clean]},
    )


def piqa():
    native = [
        {"goal": "open a jar", "sol1": "turn the lid", "sol2": "turn the table"},
        {"goal": "To dry a shirt,", "sol1": "put it in water.", "sol2": "put it in the sun."},
    ]
    train = [{"goal": "cool soup", "sol1": "burn it", "sol2": "blow on it"}]
    labels = [0, 1]
    documents = [{**each, "label": label} for each, label in zip(native, labels)]
    texts = [[f"The following makes sense: \nQ: {x['goal']}\nA: {x[s]}\n" for s in ("sol1", "sol2")] for x in native]
    return Golden(
        [
            {
                "piqa/dev.jsonl": lines(native),
                "piqa/dev-labels.lst": "0\n1\n",
                "piqa/train.jsonl": lines(train),
                "piqa/train-labels.lst": "1\n",
            },
            {
                "piqa_val.jsonl": one(
                    (i, x["goal"], [x["sol1"], x["sol2"]], y) for i, (x, y) in enumerate(zip(native, labels))
                )
            },
        ],
        "piqa/piqa.yaml",
        documents,
        [{**train[0], "label": 1}],
        opencompass={0: [whole(text, label) for text, label in zip(texts, labels)]},
    )


def winogrande():
    native = [
        {
            "qID": "1",
            "sentence": "Ann lent Eve a pen because _ had none left.",
            "option1": "Ann",
            "option2": "Eve",
            "answer": "2",
        },
        {
            "qID": "2",
            "sentence": "The box was too big for the bag, so the _ was torn .",
            "option1": "box",
            "option2": "bag",
            "answer": "2",
        },
    ]
    train = [
        {"qID": "3", "sentence": "Al thanked Bo since _ had helped.", "option1": "Al", "option2": "Bo", "answer": "2"}
    ]
    return Golden(
        [
            {"winogrande_1.1/dev.jsonl": lines(native), "winogrande_1.1/train_xl.jsonl": lines(train)},
            {"winogrande_val.jsonl": one((x["qID"], x["sentence"], [x["option1"], x["option2"]], 1) for x in native)},
        ],
        "winogrande/default.yaml",
        native,
        train,
    )


def commonsense_qa():
    stems = [
        (" What is used to cut? ", ["knife", "soup", "cloud", "song", "milk"], 0),
        ("Who bakes bread?", ["a baker", "a fish", "a tree", "rain", "no one"], 0),
    ]
    native = [
        {
            "answerKey": letters(5)[y],
            "id": f"c{i}",
            "question": {
                "question_concept": "x",
                "stem": q,
                "choices": [{"label": mark, "text": t} for mark, t in zip(letters(5), c)],
            },
        }
        for i, (q, c, y) in enumerate(stems)
    ]
    documents = [
        {"question": q, "choices": {"label": letters(5), "text": c}, "answerKey": letters(5)[y]} for q, c, y in stems
    ]
    return Golden(
        [
            {
                "commonsenseqa/dev_rand_split.jsonl": lines(native),
                "commonsenseqa/train_rand_split.jsonl": lines(native),
            },
            {"commonsenseqa_dev.jsonl": one((f"c{i}", *stem) for i, stem in enumerate(stems))},
        ],
        "commonsense_qa/default.yaml",
        documents,
        documents,
        opencompass={0: [whole([f"Question: {q}\nAnswer: \n{a}" for a in c], y) for q, c, y in stems]},
    )


def lambada_openai():
    native = [{"text": "She opened the door and saw a tall dog"}, {"text": 'no  blank is lost , " he said'}]
    forms = [(str(i), x["text"].rsplit(" ", 1)[0], [x["text"].rsplit(" ", 1)[1]], 0) for i, x in enumerate(native)]
    return Golden(
        [{"lambada_test.jsonl": lines(native)}, {"lambada_openai_test.jsonl": one(forms)}],
        "lambada/lambada_openai.yaml",
        native,
    )


def social_iqa():
    native = [
        {
            "context": "Ann fell.",
            "question": "How does Ann feel?",
            "answerA": "glad",
            "answerB": "hurt",
            "answerC": "tall",
        },
        {
            "context": "Bo cooked.",
            "question": "What will Bo do?",
            "answerA": "eat",
            "answerB": "fly",
            "answerC": "melt",
        },
    ]
    labels = ["2", "1"]
    documents = [{**x, "label": y} for x, y in zip(native, labels)]
    forms = [
        (i, f"{x['context']} {x['question']}", [x["answerA"], x["answerB"], x["answerC"]], int(y) - 1)
        for i, (x, y) in enumerate(zip(native, labels))
    ]
    files = {
        "dev.jsonl": lines(native),
        "dev-labels.lst": "2\n1\n",
        "train.jsonl": lines(native),
        "train-labels.lst": "2\n1\n",
    }
    return Golden(
        [{f"socialiqa-train-dev/{name}": text for name, text in files.items()}, {"social_iqa_val.jsonl": one(forms)}],
        "siqa/siqa.yaml",
        documents,
        documents,
    )


SETS = {
    "hellaswag": hellaswag(),
    "piqa": piqa(),
    "winogrande": winogrande(),
    "commonsense_qa": commonsense_qa(),
    "lambada_openai": lambada_openai(),
    "social_iqa": social_iqa(),
}
