# SPDX-License-Identifier: Apache-2.0
"""What the scripts that measure have in common: running the program, and files that are whole or not there. Standard
library only."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "build/release/streamline"


class Program:
    """Runs commands with these words at their end. A command that fails ends the script."""

    def __init__(self, path, words):
        self.path, self.words, self.log = path, [str(word) for word in words], []

    def __call__(self, *words):
        """The JSON that the command prints."""
        return self.timed(*words)[0]

    def timed(self, *words):
        """The same, and what it cost."""
        command = [str(self.path), *map(str, words), *self.words]
        self.log.append(" ".join(["streamline", *command[1:]]))
        print("+", self.log[-1], file=sys.stderr, flush=True)
        start = time.time()
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(command, stdout=out)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            text = out.read()
        if process.returncode != 0:
            sys.exit(f"failed with status {process.returncode}: {self.log[-1]}")
        return json.loads(text), {"wall_s": time.time() - start, "cpu_s": usage.ru_utime + usage.ru_stime,
                                  "peak_mb": usage.ru_maxrss / 1000}


def write_json(file, record):
    """Written beside and renamed, so that an interruption leaves the one before."""
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    part.replace(file)


def kept(file, settings, make):
    """The record in a file of an earlier run with the same settings, or make()'s, which is then written."""
    if file.exists():
        found = json.loads(file.read_text())
        if found["settings"] != settings:
            sys.exit(f"{file} was made with {found['settings']}; give another --out")
        return found["record"]
    record = make()
    write_json(file, {"settings": settings, "record": record})
    return record


def plan_file(folder, layers, dropped):
    """A hand-written plan that drops layers."""
    segments = [{"first": i, "last": i, "action": "drop" if i in dropped else "keep"} for i in range(layers)]
    path = pathlib.Path(folder) / f"drop-{'-'.join(map(str, sorted(dropped)))}.json"
    path.write_text(json.dumps({"format": "streamline-plan", "version": 1, "base": {"layers": layers},
                                "method": {"name": "manual"}, "segments": segments}))
    return path
