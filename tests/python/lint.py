"""Speaks the protocol of hsl-lint as an editor does, with PyYAML on this side.

Arguments: the program and those that make it the linter. Standard input: a JSON list of documents. Standard output: a
JSON list of {"status", "error"}, the error as PyYAML reads it, none when nothing was said.
"""

import json
import subprocess
import sys

import yaml

results = []
for document in json.load(sys.stdin):
    done = subprocess.run(
        sys.argv[1:],
        input=yaml.safe_dump(document, allow_unicode=True).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.stdout == b"", done.stdout
    said = done.stderr.decode("utf-8")
    # A failure of the tool itself is a sentence, not YAML.
    error = yaml.safe_load(said) if done.returncode == 1 else said or None
    results.append({"status": done.returncode, "error": error})
json.dump(results, sys.stdout)
