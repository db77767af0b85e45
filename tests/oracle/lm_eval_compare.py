# SPDX-License-Identifier: Apache-2.0
"""Sets this program's multiple choice evaluation against lm-evaluation-harness 0.4.13 on the same questions.

    python3 -m venv LMEVAL
    LMEVAL/bin/pip install "lm-eval[hf]==0.4.13" torch==2.13.0+cpu sentencepiece protobuf
    LMEVAL/bin/python tests/oracle/lm_eval_compare.py --data-dir DATA --prompts build/release/tests/streamline_tasks
    LMEVAL/bin/python tests/oracle/lm_eval_compare.py --data-dir DATA --model MODEL --program build/release/streamline

DATA holds sets in one form (docs/evaluation.md); those that are not there are left out. They are turned back into what
lm-evaluation-harness reads from the hub, so that its own task files and their functions make the prompts. With
--prompts contexts, continuations, right answers and lengths are compared, to the letter; with --model the
log-likelihoods of every choice, and acc and acc_norm. Nothing is downloaded. Status 1 if anything differs.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

TOLERANCE = 1e-3  # of a log-likelihood: float32 sums in different orders
LETTERS = "ABCDE"


def hellaswag(item):
    """What ends the context without a full stop is ctx_b, the beginning of the sentence to be ended."""
    activity, text = item["context"].split(": ", 1)
    match = re.search(r"(?<=[.!?] )[a-z][^.!?]*\Z", text)
    at = match.start() if match else len(text)
    return {
        "activity_label": activity,
        "ctx_a": text[:at].rstrip(" ") if match else text,
        "ctx_b": text[at:],
        "endings": item["choices"],
        "label": str(item["label"]),
    }


def labelled(item):
    return {"label": list(LETTERS[: len(item["choices"])]), "text": item["choices"]}


def boolq(item):
    passage, question = item["context"].removesuffix("?\nAnswer:").rsplit("\nQuestion: ", 1)
    return {"passage": passage, "question": question, "label": item["label"]}


def copa(item):
    premise, connector = item["context"].rsplit(" ", 1)
    kind = {"so": "effect", "because": "cause"}[connector]
    one, two = item["choices"]
    return {"premise": premise + ".", "question": kind, "choice1": one, "choice2": two, "label": item["label"]}


def rte(item):
    first, second = item["context"].removesuffix(" True or False?\nAnswer:").rsplit("\nQuestion: ", 1)
    return {"sentence1": first, "sentence2": second, "label": item["label"]}


def question(item, name="question"):
    return {name: item["context"], "choices": labelled(item), "answerKey": LETTERS[item["label"]]}


def piqa(item):
    return {"goal": item["context"], "sol1": item["choices"][0], "sol2": item["choices"][1], "label": item["label"]}


def mmlu(item):
    return {"question": item["context"], "choices": item["choices"], "answer": item["label"]}


# Task: file in one form, task file of the harness, what makes its documents.
TASKS = {
    "hellaswag": ("hellaswag_val", "hellaswag/hellaswag.yaml", hellaswag),
    "piqa": ("piqa_val", "piqa/piqa.yaml", piqa),
    "arc_easy": ("arc_easy_test", "arc/arc_easy.yaml", question),
    "arc_challenge": ("arc_challenge_test", "arc/arc_challenge.yaml", question),
    "openbookqa": ("openbookqa_test", "openbookqa/openbookqa.yaml", lambda item: question(item, "question_stem")),
    "boolq": ("boolq_val", "super_glue/boolq/default.yaml", boolq),
    "copa": ("copa_val", "super_glue/copa/default.yaml", copa),
    "rte": ("rte_val", "glue/rte/default.yaml", rte),
    "commonsense_qa": ("commonsenseqa_dev", "commonsense_qa/default.yaml", question),
    "sst2": ("sst2_dev", "glue/sst2/default.yaml", lambda item: {"sentence": item["context"], "label": item["label"]}),
    "winogrande": (
        "winogrande_val",
        "winogrande/default.yaml",
        lambda item: {
            "sentence": item["context"],
            "option1": item["choices"][0],
            "option2": item["choices"][1],
            "answer": str(item["label"] + 1),
        },
    ),
    # The harness marks the pronoun, whose place one form does not have; the context is the prompt as it stands.
    "wsc": ("wsc_val", "super_glue/wsc/default.yaml", lambda item: {"prompt": item["context"], "label": item["label"]}),
    "mmlu": ("mmlu_test", "mmlu/default/_default_template_yaml", mmlu),
}


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def data_folder(folder, data):
    """The sets of `data`; without a WinoGrande among them, one made of WSC, for the sake of its prompts."""
    folder.mkdir()
    for path in data.glob("*.jsonl"):
        (folder / path.name).symlink_to(path.resolve())
    made = folder / "winogrande_val.jsonl"
    if not made.exists() and (folder / "wsc_val.jsonl").exists():
        items = [blanked(item) for item in read(folder / "wsc_val.jsonl")]
        made.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
        print("winogrande: made of wsc_val.jsonl")
    return folder


def blanked(item):
    passage, asked = item["context"].removeprefix("Passage: ").split("\nQuestion: ", 1)
    pronoun, noun = re.search(r'the pronoun "(.*)" refer to "(.*)"\?', asked).groups()
    sentence = re.sub(rf"\b{re.escape(pronoun)}\b", "_", passage, count=1)
    return {"id": item["id"], "context": sentence, "choices": [noun, "nobody"], "label": 1 - item["label"]}


class Harness:
    """The harness's own tasks over local files, which are written below `folder`."""

    def __init__(self, folder, data):
        import lm_eval.tasks
        import yaml

        self.yaml, self.folder, self.data = yaml, folder, data
        self.stock = pathlib.Path(lm_eval.tasks.__file__).parent
        self.names = {}  # of the harness's tasks: ours
        self.ids = {}  # of the questions of ours

    def add(self, task, limit):
        name, stock, convert = TASKS[task]
        items = read(self.data / f"{name}.jsonl")
        subjects = dict.fromkeys(item.get("subject") for item in items) if task == "mmlu" else [None]
        for subject in subjects:
            part = [item for item in items if subject in (None, item.get("subject"))][: limit or None]
            self.write(task if subject is None else f"{task}_{subject}", stock, part, convert, subject)

    def write(self, name, stock, items, convert, subject):
        documents = self.folder / f"{name}.jsonl"
        documents.write_text("".join(json.dumps(convert(item)) + "\n" for item in items), encoding="utf-8")
        changes = {
            "include": str(self.stock / stock),
            "task": f"local_{name}",
            "tag": "local",
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {"validation": str(documents)}},
            "training_split": None,
            "validation_split": "validation",
            "test_split": None,
            "fewshot_split": None,
            "fewshot_config": None,
        }
        if name == "wsc":
            changes["doc_to_text"] = "prompt"
        if subject is not None:
            description = subject.replace("_", " ")
            changes["description"] = (
                f"The following are multiple choice questions (with answers) about {description}.\n\n"
            )
        (self.folder / f"local_{name}.yaml").write_text(self.yaml.dump(changes), encoding="utf-8")
        self.names[f"local_{name}"] = name
        self.ids[name] = [item["id"] for item in items]

    def tasks(self):
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=str(self.folder), include_defaults=False)
        return manager, list(self.names)


def harness_prompts(harness):
    """Task: one (contexts, continuations, right, lengths) a question."""
    manager, names = harness.tasks()
    loaded = manager.load(names)["tasks"]
    prompts = {}
    for name in names:
        task = loaded[name]
        task.set_config("num_fewshot", 0)
        task.build_all_requests()
        by_question = {}
        for instance in task.instances:
            by_question.setdefault(instance.doc_id, []).append(instance)
        questions = []
        for instances in by_question.values():
            document = instances[0].doc
            right = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
            choices = task.doc_to_choice(document)
            if isinstance(right, str):
                right = choices.index(right)
            contexts, continuations = zip(*(instance.args for instance in instances))
            lengths = [len(choice) for choice in choices]
            questions.append((list(contexts), list(continuations), right, lengths))
        prompts[harness.names[name]] = questions
    return prompts


def program_prompts(program, tasks, data, limit):
    prompts = {}
    for task in tasks:
        command = [program, task, "lm-eval", str(data), str(limit)]
        for line in subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n"):
            if not line:
                continue
            item = json.loads(line)
            question = (item["contexts"], item["continuations"], item["gold"], item["characters"])
            prompts.setdefault(item["set"], []).append(question)
    return prompts


def compare_prompts(arguments, harness, tasks):
    expected = harness_prompts(harness)
    found = program_prompts(arguments.prompts, tasks, harness.data, arguments.limit)
    differing = 0
    counts = {}
    for name, questions in expected.items():
        same = len(questions) == len(found.get(name, []))
        for number, (want, have) in enumerate(zip(questions, found.get(name, []))):
            # acc_norm divides by the length of WinoGrande's contexts; it is no metric of that task.
            parts = 3 if name == "winogrande" else 4
            if want[:parts] != have[:parts]:
                same = False
                print(f"{name}: question {number} differs:\n  harness {want}\n  program {have}", file=sys.stderr)
                break
        differing += not same
        task = "mmlu" if name.startswith("mmlu") else name
        counts[task] = counts.get(task, 0) + len(questions)
    for task, count in counts.items():
        print(f"{task:16} {count:6} questions")
    print("prompts agree to the letter" if differing == 0 else f"{differing} sets differ")
    return differing == 0


def harness_scores(arguments, harness):
    import lm_eval

    manager, names = harness.tasks()
    result = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": arguments.model, "dtype": "float32"},
        tasks=names,
        num_fewshot=0,
        batch_size=8,
        device="cpu",
        task_manager=manager,
        log_samples=True,
        bootstrap_iters=0,
    )
    scores = {}
    for name, ours in harness.names.items():
        samples = sorted(result["samples"][name], key=lambda sample: sample["doc_id"])
        scores[ours] = [
            {
                "log_likelihoods": [float(answer[0]) for answer in sample["filtered_resps"]],
                "greedy": [str(answer[1]) == "True" for answer in sample["filtered_resps"]],
                "acc": sample["acc"],
                "acc_norm": sample.get("acc_norm"),
            }
            for sample in samples
        ]
    return scores


def first_highest(values):
    return max(range(len(values)), key=values.__getitem__)


def program_scores(arguments, harness, tasks, folder):
    command = [arguments.program, "eval", arguments.model, "--tasks", ",".join(tasks), "--data-dir", str(harness.data)]
    command += ["--limit", str(arguments.limit), "--out", str(folder)]
    if arguments.dtype:
        command += ["--dtype", arguments.dtype]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    scores = {}
    for name in harness.ids:
        answers = read(folder / "answers" / "lm-eval" / f"{name}.jsonl")
        answers = [answer for answer in answers if "log_likelihoods" in answer]
        for answer in answers:
            sums, lengths = answer["log_likelihoods"], answer["characters"]
            normed = [value / length for value, length in zip(sums, lengths)]
            answer["acc"] = float(first_highest(sums) == answer["gold"])
            answer["acc_norm"] = float(first_highest(normed) == answer["gold"])
        scores[name] = answers
    return scores


def mean(values):
    return sum(values) / len(values)


def compare_scores(arguments, harness, tasks, folder):
    expected = harness_scores(arguments, harness)
    found = program_scores(arguments, harness, tasks, folder)
    heads = ("acc", "harness", "acc_norm", "harness")
    print(f"{'task':16} {'questions':>9} {'largest difference':>18} " + " ".join(f"{head:>8}" for head in heads))
    agree = True
    for task in tasks:
        sets = [name for name in expected if name == task or (task == "mmlu" and name.startswith("mmlu_"))]
        want = [answer for name in sets for answer in expected[name]]
        have = [answer for name in sets for answer in found[name]]
        if len(want) != len(have):
            print(f"{task}: the harness has {len(want)} answers, the program {len(have)}")
            agree = False
            continue
        largest = max(
            abs(a - b)
            for one, two in zip(want, have)
            for a, b in zip(one["log_likelihoods"], two["log_likelihoods"], strict=True)
        )
        figures = []
        for metric in ("acc", "acc_norm"):
            if want[0][metric] is None:
                figures += ["", ""]
                continue
            ours, theirs = mean([x[metric] for x in have]), mean([x[metric] for x in want])
            agree = agree and ours == theirs
            figures += [f"{ours:.4f}", f"{theirs:.4f}"]
        agree = agree and largest <= TOLERANCE
        agree = agree and all(one["greedy"] == two["greedy"] for one, two in zip(want, have))
        print(f"{task:16} {len(want):9} {largest:18.2e} " + " ".join(f"{figure:>8}" for figure in figures))
    print(f"log-likelihoods agree to {TOLERANCE}, the figures exactly" if agree else "they differ")
    return agree


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--limit", type=int, default=200, help="questions of each set; 0: all")
    parser.add_argument("--prompts", metavar="STREAMLINE_TASKS", help="compare prompts with this program's")
    parser.add_argument("--model", help="compare scores of this model, a directory")
    parser.add_argument("--program", default="streamline")
    parser.add_argument("--dtype", default="float32", help="given to the program")
    arguments = parser.parse_args()
    if bool(arguments.prompts) == bool(arguments.model):
        parser.error("give either --prompts or --model")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        data = data_folder(folder / "data", arguments.data_dir)
        (folder / "tasks").mkdir()
        harness = Harness(folder / "tasks", data)
        tasks = arguments.tasks.split(",")
        for task in [task for task in tasks if not (data / f"{TASKS[task][0]}.jsonl").exists()]:
            print(f"{task}: no {TASKS[task][0]}.jsonl in {arguments.data_dir}, left out")
            tasks.remove(task)
        for task in tasks:
            harness.add(task, arguments.limit)
        if arguments.prompts:
            return 0 if compare_prompts(arguments, harness, tasks) else 1
        return 0 if compare_scores(arguments, harness, tasks, folder / "results") else 1


if __name__ == "__main__":
    sys.exit(main())
