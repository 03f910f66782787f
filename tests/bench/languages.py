#!/usr/bin/env python3
"""The language beside PHP, Lua and Python: whole processes, in alternating rounds.

Every program of the folder `languages` exists in four languages, does the same work in each and prints the same line.
One more, `compile`, is written by this script: 4,000 functions, some of which are called. Each round runs every
language once, in an order that changes, so that whatever else the machine does hits all of them alike; the ratio
of a round is taken within the round, and the table shows the median of the ratios. What is measured is the time of
the processor (user and system) of the whole process, which other work on the machine changes least; `--wall` shows
elapsed time instead.

    cargo build --release -p angarium
    tests/bench/languages.py
    tests/bench/languages.py --only policy,headers --rounds 11
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "languages"
MAIL = ("policy", "headers")

# What runs a program of each language, and the ending of its files. PHP runs without JIT and without a cache of
# compiled files, as its command does by itself.
LANGUAGES = {
    "HSL": (["hsh"], "hsl"),
    "PHP": (["php", "-d", "opcache.enable_cli=0", "-d", "memory_limit=-1"], "php"),
    "Lua": (["lua5.4"], "lua"),
    "Python": (["python3", "-I", "-S"], "py"),
}


class Run:
    """One run of a process: what it printed, processor time and elapsed time in seconds."""

    def __init__(self, command):
        with tempfile.TemporaryFile() as output:
            start = time.monotonic()
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE)
            errors = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            self.wall = time.monotonic() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            process.stderr.close()
            output.seek(0)
            self.output = output.read().decode(errors="replace").strip()
        if process.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: {errors.decode(errors='replace')}{self.output}")
        self.cpu = usage.ru_utime + usage.ru_stime


def memory(command):
    """The most memory that a process held, in MiB: looked at while it runs, because what the system reports at the end
    counts the process that started it too."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        except OSError:
            break
        # Until the new program is in place the old one is seen.
        if str(command[-1]).encode() in command_line and "VmHWM:" in status:
            peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
        time.sleep(0.005)
    process.wait()
    return peak


# A function of the program `compile`: its head, a part that stands in it REPEATED times, and its end. {n} is its number,
# {k} that of the part. Every language spells the same statements.
COMPILED = {
    "HSL": (
        """function handler_{n}($a, $b) {{
    $sum = 0;
""",
        """    $list = [$a, $b, {n}];
    $names = ["first" => $a, "second" => "name {n} {k}", "third" => [1, 2, 3]];
    for ($i = 0; $i < length($list); $i++) {{
        if ($list[$i] > {n} and $a != $b)
            $sum += $list[$i] * 2 - 1;
        else if ($list[$i] == 7)
            $sum -= {k};
        else
            $sum = $sum + $names["first"] % 5;
    }}
    while ($sum > 1000000) {{
        $sum = ($sum - $b) / 2;
        $a = $a . "x" . $names["second"];
    }}
    foreach ($names as $key => $value) {{
        if ($key == "second") {{
            $sum += length($value . "handler {n} of $key") + {n} % 3;
            continue;
        }}
    }}
    if ($sum < 0 or !isset($names["second"]))
        return none;
""",
        """    $text = "result of {n}: " . $sum . ", " . $names["second"];
    return $sum + length($text);
}}
""",
    ),
    "PHP": (
        """function handler_{n}($a, $b) {{
    $sum = 0;
""",
        """    $list = [$a, $b, {n}];
    $names = ["first" => $a, "second" => "name {n} {k}", "third" => [1, 2, 3]];
    for ($i = 0; $i < count($list); $i++) {{
        if ($list[$i] > {n} and $a != $b)
            $sum += $list[$i] * 2 - 1;
        else if ($list[$i] == 7)
            $sum -= {k};
        else
            $sum = $sum + $names["first"] % 5;
    }}
    while ($sum > 1000000) {{
        $sum = ($sum - $b) / 2;
        $a = $a . "x" . $names["second"];
    }}
    foreach ($names as $key => $value) {{
        if ($key == "second") {{
            $sum += strlen($value . "handler {n} of $key") + {n} % 3;
            continue;
        }}
    }}
    if ($sum < 0 or !isset($names["second"]))
        return null;
""",
        """    $text = "result of {n}: " . $sum . ", " . $names["second"];
    return $sum + strlen($text);
}}
""",
    ),
    "Lua": (
        """function handler_{n}(a, b)
    local sum = 0
    local list, names
""",
        """    list = {{ a, b, {n} }}
    names = {{ first = a, second = "name {n} {k}", third = {{ 1, 2, 3 }} }}
    for i = 1, #list do
        if list[i] > {n} and a ~= b then
            sum = sum + list[i] * 2 - 1
        elseif list[i] == 7 then
            sum = sum - {k}
        else
            sum = sum + names["first"] % 5
        end
    end
    while sum > 1000000 do
        sum = (sum - b) / 2
        a = a .. "x" .. names["second"]
    end
    for key, value in pairs(names) do
        if key == "second" then
            sum = sum + #(value .. "handler {n} of " .. key) + {n} % 3
            goto continue
        end
        ::continue::
    end
    if sum < 0 or not names["second"] then
        return nil
    end
""",
        """    local text = "result of {n}: " .. sum .. ", " .. names["second"]
    return sum + #text
end
""",
    ),
    "Python": (
        """def handler_{n}(a, b):
    sum_ = 0
""",
        """    items = [a, b, {n}]
    names = {{"first": a, "second": "name {n} {k}", "third": [1, 2, 3]}}
    for i in range(len(items)):
        if items[i] > {n} and a != b:
            sum_ += items[i] * 2 - 1
        elif items[i] == 7:
            sum_ -= {k}
        else:
            sum_ = sum_ + names["first"] % 5
    while sum_ > 1000000:
        sum_ = (sum_ - b) / 2
        a = a + "x" + names["second"]
    for key, value in names.items():
        if key == "second":
            sum_ += len(value + f"handler {n} of {{key}}") + {n} % 3
            continue
    if sum_ < 0 or "second" not in names:
        return None
""",
        """    text = f"result of {n}: {{sum_}}, " + names["second"]
    return sum_ + len(text)


""",
    ),
}
REPEATED = 7
FUNCTIONS = 4000

# What the memory of a script that does nothing is measured with: it only takes its time.
BUSY = {
    "HSL": "for ($i = 0; $i < 20000000; $i++) {}\n",
    "PHP": "<?php\nfor ($i = 0; $i < 20000000; $i++) {}\n",
    "Lua": "for i = 1, 50000000 do end\n",
    "Python": "for i in range(5000000): pass\n",
}


def compiled(language):
    """The text of the program `compile`: the functions, and calls of every hundredth one."""
    head, part, tail = COMPILED[language]
    body = "".join(
        head.format(n=n) + "".join(part.format(n=n, k=k) for k in range(REPEATED)) + tail.format(n=n)
        for n in range(FUNCTIONS)
    )
    called = [f"handler_{n}({n}, {n + 2})" for n in range(0, FUNCTIONS, 100)]
    total = " + ".join(called)
    return {
        "HSL": f"{body}echo {total};\n",
        "PHP": f"<?php\n{body}echo {total}, \"\\n\";\n",
        "Lua": f"{body}print({total})\n",
        "Python": f"{body}print({total})\n",
    }[language]


def geometric(ratios):
    return math.exp(statistics.fmean(map(math.log, ratios)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each program in each language")
    parser.add_argument("--only", help="names of programs, with commas between them")
    parser.add_argument("--languages", default=",".join(LANGUAGES), help="names of languages, with commas between them")
    parser.add_argument("--hsh", help="the hsh to measure; the release build of this tree by default")
    parser.add_argument("--wall", action="store_true", help="elapsed time instead of processor time")
    parser.add_argument("--json", help="writes all numbers to this file")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        measure(options, Path(scratch))


def measure(options, scratch):
    languages = {name: LANGUAGES[name] for name in options.languages.split(",")}
    binary = options.hsh
    if not binary:
        binary = scratch / "hsh"
        binary.symlink_to(HERE.parent.parent / "target" / "release" / "angarium")
    for name, (command, _) in list(languages.items()):
        program = str(binary) if command[0] == "hsh" else shutil.which(command[0])
        if not program or not Path(program).exists():
            print(f"{name} is left out: no {program or command[0]}")
            del languages[name]
        else:
            # The program itself, past whatever chooses a version of it.
            if name == "Python":
                program = subprocess.check_output([program, "-c", "import sys; print(sys.executable)"], text=True).strip()
            languages[name] = ([program, *command[1:]], languages[name][1])

    names = sorted(path.stem for path in PROGRAMS.glob("*.hsl")) + ["compile"]
    names = [name for name in names if name not in MAIL] + list(MAIL)
    if options.only:
        names = options.only.split(",")
    for name, (_, ending) in languages.items():
        (scratch / f"compile.{ending}").write_text(compiled(name))
        (scratch / f"empty.{ending}").write_text("<?php\n" if ending == "php" else "")
        (scratch / f"busy.{ending}").write_text(BUSY[name])

    def command(language, program):
        words, ending = languages[language]
        folder = scratch if program in ("compile", "empty", "busy") else PROGRAMS
        return [*words, folder / f"{program}.{ending}"]

    def rounds(program, count):
        runs = {language: [] for language in languages}
        order = list(languages)
        for _ in range(count):
            for language in order:
                runs[language].append(Run(command(language, program)))
            order = order[1:] + order[:1]
        return runs

    def seconds(run):
        return run.wall if options.wall else run.cpu

    def ratio(runs, language):
        pairs = zip(runs[language], runs["PHP"])
        return statistics.median(seconds(run) / seconds(php) for run, php in pairs)

    others = [name for name in languages if name != "PHP"]
    against = "PHP" in languages
    kept = {}
    head = f"{'program':16}" + "".join(f"{name + ', s':>11}" for name in languages)
    if against:
        head += "".join(f"{name + '/PHP':>12}" for name in others)
    print(head, flush=True)
    for program in names:
        runs = rounds(program, options.rounds)
        outputs = {language: {run.output for run in runs[language]} for language in languages}
        if len(set().union(*outputs.values())) != 1:
            sys.exit(f"{program}: the outputs differ: {outputs}")
        times = {language: statistics.median(map(seconds, runs[language])) for language in languages}
        ratios = {language: ratio(runs, language) for language in others} if against else {}
        kept[program] = {"seconds": times, "ratios": ratios}
        line = f"{program:16}" + "".join(f"{times[name]:11.3f}" for name in languages)
        print(line + "".join(f"{ratios[name]:12.2f}" for name in ratios), flush=True)

    if against:
        for title, chosen in (("geometric mean", names), ("mail scripts", [name for name in names if name in MAIL])):
            if chosen:
                means = [geometric([kept[program]["ratios"][name] for program in chosen]) for name in others]
                print(f"{title:16}" + " " * 11 * len(languages) + "".join(f"{mean:12.2f}" for mean in means))

    runs = rounds("empty", max(15, options.rounds))
    print("\nan empty script" + "".join(f"{name:>11}" for name in languages))
    wall = {name: statistics.median(run.wall for run in runs[name]) * 1000 for name in languages}
    cpu = {name: statistics.median(run.cpu for run in runs[name]) * 1000 for name in languages}
    held = {name: memory(command(name, "busy")) for name in languages}
    for title, row in (("elapsed, ms", wall), ("processor, ms", cpu), ("memory, MiB", held)):
        print(f"{title:15}" + "".join(f"{row[name]:11.1f}" for name in languages))
    if options.json:
        kept["empty"] = {"elapsed_ms": wall, "processor_ms": cpu, "memory_mib": held}
        Path(options.json).write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
