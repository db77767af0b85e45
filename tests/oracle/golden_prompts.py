# SPDX-License-Identifier: Apache-2.0
"""Writes tests/tasks/golden/TASK.json: questions in the layouts in which each set is published, and the prompts that
they become. Runs in the environment of lm_eval_compare.py:

    LMEVAL/bin/python tests/oracle/golden_prompts.py tests/tasks/golden [--data-dir DATA]

The questions are made up. Prompts in the style of lm-eval come out of lm-evaluation-harness 0.4.13's own task files,
where it has the task; those of OpenCompass (0.2.2, its *_ppl.py) are spelled out in golden/, as are the rest. With
--data-dir the digests of all prompts of the real sets are written too, for those that lm_eval_compare.py can turn back.
"""

import argparse
import hashlib
import json
import pathlib
import sys
import tempfile

from golden import chinese, common_sense, examinations, glue, science
from golden.layout import lines, question
from lm_eval_compare import TASKS, Harness, harness_prompts

GOLDEN = common_sense.SETS | science.SETS | glue.SETS | examinations.SETS | chinese.SETS


def stock_prompts(golden, shots, folder):
    """The harness's prompts for the documents, subject after subject."""
    import lm_eval.tasks
    import yaml
    from lm_eval.tasks import TaskManager

    stock = pathlib.Path(lm_eval.tasks.__file__).parent
    subjects = list(dict.fromkeys(x.get("subject") for x in golden.documents))
    split = len(subjects) > 1
    prompts = []
    for number, subject in enumerate(subjects if split else [None]):

        def part(documents):
            return lines(x for x in documents if not split or x["subject"] == subject)

        files = {"validation": folder / "validation.jsonl"}
        files["validation"].write_text(part(golden.documents), encoding="utf-8")
        changes = {
            "include": str(stock / golden.stock),
            "task": f"golden_{shots}_{number}",
            "tag": "golden",
            "dataset_path": "json",
            "dataset_name": None,
            "training_split": None,
            "validation_split": "validation",
            "test_split": None,
            "fewshot_split": None,
            "fewshot_config": None,
        }
        if shots:
            files["train"] = folder / "train.jsonl"
            files["train"].write_text(part(golden.examples), encoding="utf-8")
            changes.update(fewshot_split="train", fewshot_config={"sampler": "first_n", "split": "train"})
        changes["dataset_kwargs"] = {"data_files": {name: str(path) for name, path in files.items()}}
        if "description" in golden.changes:
            names = golden.changes.get("names", {})
            changes["description"] = golden.changes["description"].format(names.get(subject, subject.replace("_", " ")))
        path = folder / f"golden_{shots}_{number}.yaml"
        path.write_text(yaml.dump(changes), encoding="utf-8")
        task = TaskManager(include_path=str(folder), include_defaults=False).load([path.stem])["tasks"][path.stem]
        path.unlink()
        prompts += built(task, shots)
    return prompts


def built(task, shots):
    task.set_config("num_fewshot", shots)
    task.build_all_requests()
    by_document = {}
    for instance in task.instances:
        by_document.setdefault(instance.doc_id, []).append(instance)
    prompts = []
    for instances in by_document.values():
        document = instances[0].doc
        contexts, continuations = map(list, zip(*(instance.args for instance in instances)))
        if task.OUTPUT_TYPE == "loglikelihood":
            prompts.append(question(contexts, continuations, 0, None))
            continue
        choices = task.doc_to_choice(document)
        right = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
        right = choices.index(right) if isinstance(right, str) else right
        lengths = None if task.multiple_input else [len(choice) for choice in choices]
        prompts.append(question(contexts, continuations, right, lengths))
    return prompts


def ends(prompts):
    return [prompts[0], prompts[-1]]


def digest(prompts):
    """Of everything asked, in the order of the data."""
    sha = hashlib.sha256()
    for contexts, continuations, right, _ in prompts:
        for context, continuation in zip(contexts, continuations):
            sha.update(f"{context}\x1f{continuation}\x1e".encode())
        sha.update(f"{right}\n".encode())
    return sha.hexdigest()


def real_digests(data):
    with tempfile.TemporaryDirectory() as temporary:
        harness = Harness(pathlib.Path(temporary), data)
        for task, (file, _, _) in TASKS.items():
            if (data / f"{file}.jsonl").exists():
                harness.add(task, 0)
        prompts = harness_prompts(harness)
    # Subjects one after the other.
    by_task = {
        task: [
            x
            for name, each in prompts.items()
            if name == task or (task == "mmlu" and name.startswith("mmlu_"))
            for x in each
        ]
        for task in TASKS
    }
    return {task: {"questions": len(each), "sha256": digest(each)} for task, each in by_task.items() if each}


def golden_of(task, golden, folder):
    cases = []
    if golden.stock:
        cases.append(
            {
                "style": "lm-eval",
                "by": "lm-evaluation-harness 0.4.13",
                "shots": 0,
                "prompts": ends(stock_prompts(golden, 0, folder)),
            }
        )
        if golden.examples:
            # The harness takes no example out that is equal to the question; ours are.
            distinct = [x for x in golden.examples if x not in golden.documents]
            if distinct:
                shots = 2 if task == "mmlu" else 1
                cases.append(
                    {
                        "style": "lm-eval",
                        "by": "lm-evaluation-harness 0.4.13",
                        "shots": shots,
                        "prompts": ends(stock_prompts(golden, shots, folder)),
                    }
                )
    else:
        cases.append({"style": "lm-eval", "by": "this program", "shots": 0, "prompts": ends(golden.lm_eval)})
    for shots, prompts in golden.opencompass.items():
        cases.append({"style": "opencompass", "by": "OpenCompass 0.2.2", "shots": shots, "prompts": ends(prompts)})
    return {"task": task, "layouts": golden.layouts, "cases": cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--data-dir", type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for task, golden in GOLDEN.items():
            result = golden_of(task, golden, pathlib.Path(temporary))
            (arguments.folder / f"{task}.json").write_text(
                json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
            )
    if arguments.data_dir:
        (arguments.folder / "digests.json").write_text(
            json.dumps(real_digests(arguments.data_dir), indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    sys.exit(main())
