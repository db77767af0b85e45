# SPDX-License-Identifier: Apache-2.0
"""What is opened in the loaders: checkpoints and GGUF files that this program wrote, each made when it is asked for
(`args.wants(title)`). Standard library only."""
import dataclasses
import json
import pathlib
import random

from alphabet import write_tokenizer
from compare import HERE, run

ROOT = HERE.parents[1]
REPLACEMENTS = ["none", "layer", "swiglu-residual"]
FAMILIES = ["llama", "llama3", "mistral", "qwen2", "qwen3", "opt", "gemma2", "gemma3_text", "phi", "phi3", "gpt2",
            "gpt2_bare", "gpt_neox", "olmo2", "olmo3", "smollm3", "granite", "falcon", "glm4", "starcoder2", "cohere2",
            "mixtral", "qwen2_moe", "qwen3_moe", "llama4_text"]
SEVERAL_PARTS = ["gemma3"]
FAMILY_LAYERS = 8  # as families.py makes them
# Families with an architecture of llama.cpp: layers that are cut (whole periods of their windows or positions).
GGUF_FAMILIES = {name: 2 for name in FAMILIES if name not in ("opt", "olmo3")} | {
    "gemma3_text": 6, "cohere2": 4, "smollm3": 4, "llama4_text": 4}
GGUF_OPTIONS = {"phi3": ["--context", "64"]}  # its window, which llama.cpp ignores
# llama.cpp takes GELU from a table in half precision, and multiplies in the type of the file.
GELU = {"gemma2", "gemma3_text", "phi", "gpt2", "gpt2_bare", "gpt_neox", "starcoder2", "falcon"}
TYPES = {"f32": 1e-3, "f16": 0.1, "bf16": 0.2, "q8_0": 0.2, "q4_0": 0.2}  # and the difference allowed
QUANTISED = ("q8_0", "q4_0")
GELU_TOLERANCE = 2e-2
CLASSIFIED = 60  # texts
CHIP = ["--kind", "linear", "--method", "newton", "--feature-norm", "rms", "--no-bias", "--validation", 0.2]
MEASURED = ["--samples", 8, "--seq-len", 128, "--no-speed", "--eval-windows", 4, "--quiet"]
CUT = ["--cut", 3, *MEASURED]
# What is taken inside layers, or stands for what went, in the words of `prune`.
INSIDE = {
    "a third of heads and channels from layer 10 on": ["--method", "wanda-sp", "--ratio", 0.34, "--protect", "0-9"],
    "a third of the channels, differing widths": ["--method", "flap", "--inside", "channels", "--ratio", 0.3],
    "2 attentions cut, the mean of theirs as a bias": ["--method", "attention-drop", "--layers", 2, "--refit", "bias"],
}


@dataclasses.dataclass
class Made:
    title: str
    family: str
    source: pathlib.Path  # the unpruned checkpoint: what ids are made for, and what a failure is held against
    result: pathlib.Path
    tolerance: float = 1e-3
    loaders: tuple = ()  # that are asked; none: all
    quantised: bool = False


def data():
    return ["--data", ROOT / "models/text/calibration.jsonl"]


def plan(layers, halves):
    """A plan by hand: `halves` says what becomes of single layers."""
    segments = [{"first": i, "last": i, "action": halves.get(i, "keep")} for i in range(layers)]
    return {"format": "streamline-plan", "version": 1, "base": {"layers": layers}, "method": {"name": "manual"},
            "segments": segments}


def apply(args, scratch, source, out, layers, actions, *options):
    (scratch / "plan.json").write_text(json.dumps(plan(layers, actions)))
    run(args.build / "streamline", "apply", source, "--plan", scratch / "plan.json", "--out", out, "--quiet", "--dtype",
        "float32", *options)
    return out


def trained_models(args):
    return [ROOT / "models/books-5m", *args.model]


def training(replacement):
    return [] if replacement == "none" else ["--tokens", 20000, "--accept-worse"]


def pruned_models(args, scratch):
    for source in trained_models(args):
        for replacement in REPLACEMENTS:
            title, out = f"{source.name}, 3 layers cut, `{replacement}`", scratch / f"{source.name}-{replacement}"
            if args.wants(title):
                run(args.build / "streamline", "prune", source, *data(), "--out", out, *CUT, "--replace", replacement,
                    *training(replacement))
                yield Made(title, "llama", source, out)


def made_by_transformers(args, scratch, family):
    """A small random checkpoint of a family, from families.py."""
    folder = scratch / "families" / family
    if not folder.exists():
        run(args.environments / "transformers/bin/python", HERE / "families.py", scratch / "families", family)
    return folder


def family_models(args, scratch):
    titles = {family: f"{family}, random, layers 1..2 cut" for family in FAMILIES}
    titles |= {family: f"{family}, text model and vision tower, random, layers 1..2 cut" for family in SEVERAL_PARTS}
    for family, title in titles.items():
        if args.wants(title):
            source, out = made_by_transformers(args, scratch, family), scratch / f"{family}-cut"
            apply(args, scratch, source, out, FAMILY_LAYERS, {1: "drop", 2: "drop"})
            yield Made(title, family, source, out, loaders=("transformers",) if family in SEVERAL_PARTS else ())


def narrowed(args, scratch, source, what):
    out = scratch / f"{source.name}-{list(INSIDE).index(what)}"
    if not out.exists():
        run(args.build / "streamline", "prune", source, *data(), "--out", out, *MEASURED, *INSIDE[what])
    return out


def narrowed_models(args, scratch):
    for source in trained_models(args):
        for what in INSIDE:
            if args.wants(title := f"{source.name}, {what}"):
                yield Made(title, "llama", source, narrowed(args, scratch, source, what))


def layers_of(folder):
    return json.loads((folder / "config.json").read_text())["num_hidden_layers"]


def decilm_models(args, scratch, suffix=""):
    """Halves of layers that are not there: two attentions, or two MLPs."""
    halves = {"attentions": {2: "drop-attention", 5: "drop-attention"}, "MLPs": {2: "drop-mlp", 5: "drop-mlp"}}
    for source in trained_models(args):
        for what, actions in halves.items():
            title, out = f"{source.name}, 2 {what} cut, DeciLM", scratch / f"{source.name}-decilm-{what}"
            if args.wants(title + suffix):
                if not out.exists():
                    apply(args, scratch, source, out, layers_of(source), actions, "--format", "decilm")
                yield Made(title, "nemotron_nas", source, out)


def checkpoints(args, scratch):
    yield from pruned_models(args, scratch)
    yield from decilm_models(args, scratch)
    yield from narrowed_models(args, scratch)
    yield from family_models(args, scratch)


def export(args, source, out, kind, *options):
    if not out.exists():
        run(args.build / "streamline", "export", source, "--gguf", out, "--type", kind, "--quiet", *options)
    return out


def written_out(args, quantised):
    """The values of a quantised file as float32."""
    return export(args, quantised, quantised.with_suffix(".f32.gguf"), "f32")


def exported_models(args, scratch):
    """Every type of a trained model and of one cut before; and GGUF files that were themselves cut."""
    for source in trained_models(args):
        cut = scratch / f"{source.name}-cut"
        for kind, tolerance in TYPES.items():
            for title, folder in ((source.name, source), (f"{source.name}, 3 layers cut", cut)):
                if not args.wants(f"{title}, {kind}"):
                    continue
                if not folder.exists():
                    apply(args, scratch, source, cut, layers_of(source), {layer: "drop" for layer in (4, 5, 6)})
                out = export(args, folder, scratch / f"{folder.name}-{kind}.gguf", kind)
                yield Made(f"{title}, {kind}", "llama", source, out, tolerance, quantised=kind in QUANTISED)
        for kind, replacement in (("q8_0", "none"), ("q4_0", "none"), ("q8_0", "layer")):
            title = f"{source.name}, {kind}, `prune` of the GGUF file, 3 layers cut, `{replacement}`"
            if args.wants(title):
                whole = export(args, source, scratch / f"{source.name}-{kind}.gguf", kind)
                out = scratch / f"{source.name}-{kind}-{replacement}.gguf"
                run(args.build / "streamline", "prune", whole, *data(), "--out", out, *CUT, "--replace", replacement,
                    *training(replacement))
                yield Made(title, "llama", source, out, TYPES[kind], quantised=True)


def exported_narrowed(args, scratch):
    for source in trained_models(args):
        for what in INSIDE:
            for kind in ("f32", "q8_0"):
                if args.wants(title := f"{source.name}, {what}, {kind}"):
                    result = narrowed(args, scratch, source, what)
                    out = export(args, result, scratch / f"{result.name}-{kind}.gguf", kind)
                    yield Made(title, "llama", source, out, TYPES[kind], quantised=kind in QUANTISED)


def exported_decilm(args, scratch):
    for kind in ("f32", "q8_0"):
        for item in decilm_models(args, scratch, f", {kind}"):
            out = export(args, item.result, scratch / f"{item.result.name}-{kind}.gguf", kind)
            yield dataclasses.replace(item, title=f"{item.title}, {kind}", result=out, tolerance=TYPES[kind],
                                      quantised=kind in QUANTISED)


def with_tokenizer(args, scratch, family):
    folder = scratch / "with-tokenizer" / family
    if not folder.exists():
        folder.mkdir(parents=True)
        for file in made_by_transformers(args, scratch, family).iterdir():
            (folder / file.name).symlink_to(file)
        write_tokenizer(folder, json.loads((folder / "config.json").read_text())["vocab_size"])
    return folder


def exported_families(args, scratch):
    for family, count in GGUF_FAMILIES.items():
        options = GGUF_OPTIONS.get(family, [])
        tolerance = GELU_TOLERANCE if family in GELU else TYPES["f32"]
        if args.wants(title := f"{family}, random, f32"):
            source = with_tokenizer(args, scratch, family)
            yield Made(title, family, source, export(args, source, scratch / f"{family}.gguf", "f32", *options), tolerance)
        if args.wants(title := f"{family}, random, {count} layers cut, f32"):
            source = with_tokenizer(args, scratch, family)
            cut = apply(args, scratch, source, scratch / f"{family}-gguf-cut", FAMILY_LAYERS,
                        {layer: "drop" for layer in range(1, 1 + count)})
            yield Made(title, family, source, export(args, cut, scratch / f"{family}-cut.gguf", "f32", *options), tolerance)


def labelled_texts():
    """Texts of some words, and labels drawn for them."""
    draw, words = random.Random(0), (ROOT / "models/text/valid.txt").read_text().split()
    starts = [draw.randrange(len(words) - 20) for _ in range(CLASSIFIED)]
    return [{"text": " ".join(words[at : at + draw.randrange(2, 12)]), "label": draw.choice("abc")} for at in starts]


def classifiers(args, scratch):
    """Chips of random models, as GGUF files beside their directories."""
    for family, kind in (("qwen3", "f32"), ("qwen3", "f16"), ("llama", "f32")):
        if not args.wants(title := f"{family}, random, classifier of 3 classes behind layer 3, {kind}"):
            continue
        source, out = with_tokenizer(args, scratch, family), scratch / f"{family}-classifier-{kind}"
        rows, features, chips = (scratch / f"classes.{end}" for end in ("jsonl", "features", "chips"))
        rows.write_text("".join(json.dumps(row) + "\n" for row in labelled_texts()))
        program = args.build / "streamline"
        run(program, "chip", "cache", source, "--data", rows, "--out", features, "--overwrite")
        run(program, "chip", "train", features, *CHIP, "--out", chips, "--overwrite")
        run(program, "chip", "export", source, "--chips", chips, "--layer", 3, "--out", out, "--gguf", f"{out}.gguf", "--type", kind)
        yield Made(title, family, out, pathlib.Path(f"{out}.gguf"), TYPES[kind])


def gguf_files(args, scratch):
    yield from exported_models(args, scratch)
    yield from exported_decilm(args, scratch)
    yield from exported_narrowed(args, scratch)
    yield from exported_families(args, scratch)
