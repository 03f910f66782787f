#!/usr/bin/env python3
"""The library's codecs, texts and arrays beside PHP's: whole processes, in alternating rounds.

Every program of the folder `codecs` exists in both languages, does the same work on the same data and prints the same line.
How it is measured is told in languages.py, whose parts are used here.

    cargo build --release -p angarium
    tests/bench/codecs.py
    tests/bench/codecs.py --only json_encode,json_decode --rounds 11
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from languages import LANGUAGES, Run, geometric

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "codecs"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each program in each language")
    parser.add_argument("--only", help="names of programs, with commas between them")
    parser.add_argument("--hsh", help="the program to measure; the release build of this tree by default")
    parser.add_argument("--wall", action="store_true", help="elapsed time instead of processor time")
    parser.add_argument("--json", help="writes all numbers to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(options, Path(scratch))


def measure(options, scratch):
    # The program is what it is called: `hsh` runs scripts.
    hsh = scratch / "hsh"
    hsh.symlink_to(Path(options.hsh or HERE.parent.parent / "target" / "release" / "angarium").resolve())
    names = options.only.split(",") if options.only else sorted(path.stem for path in PROGRAMS.glob("*.hsl"))
    kept = {}
    print(f"{'program':16}{'HSL, s':>11}{'PHP, s':>11}{'HSL/PHP':>12}", flush=True)
    for name in names:
        commands = [[hsh, PROGRAMS / f"{name}.hsl"], [*LANGUAGES["PHP"][0], PROGRAMS / f"{name}.php"]]
        rounds = []
        for number in range(options.rounds):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            runs = {side: Run(commands[side]) for side in order}
            if runs[0].output != runs[1].output:
                sys.exit(f"{name}: the outputs differ: {runs[0].output} {runs[1].output}")
            rounds.append([runs[side].wall if options.wall else runs[side].cpu for side in (0, 1)])
        ours, php = (statistics.median(round[side] for round in rounds) for side in (0, 1))
        ratio = statistics.median(ours / php for ours, php in rounds)
        kept[name] = {"hsl": ours, "php": php, "ratio": ratio}
        print(f"{name:16}{ours:11.3f}{php:11.3f}{ratio:12.2f}", flush=True)
    print(f"{'geometric mean':38}{geometric([row['ratio'] for row in kept.values()]):12.2f}")
    if options.json:
        Path(options.json).write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
