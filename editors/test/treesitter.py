"""Compares what the tree-sitter grammar makes of scripts with what the parser and the lexer say.

Arguments: the compiled grammar, the folder of the grammar.
Standard input: {"samples": [{name, text (base64), ok, tokens: [[class, start, end], ...]}, ...], "show": text (base64)}.
Standard output: {"wrong": ["name: ...", ...], "tokens": how many were compared, "parsed": how many samples,
"shown": the tree of `show`}.
"""

import base64
import ctypes
import json
import sys
from pathlib import Path

from tree_sitter import Language, Parser, Query, QueryCursor


def load(path):
    library = ctypes.CDLL(path)
    library.tree_sitter_hsl.restype = ctypes.c_void_p
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype = ctypes.py_object
    capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return Language(capsule(library.tree_sitter_hsl(), b"tree_sitter.Language", None))


# What the last capture of a token's place must start with.
CLASSES = {
    "comment": ("comment",),
    "string": ("string", "variable"),
    "regex": ("string.regexp",),
    "number": ("number",),
    "variable": ("variable",),
    "keyword": ("keyword", "boolean", "constant.builtin"),
    "name": ("type", "function", "property"),
    "sign": ("operator", "punctuation"),
}


def captures_by_start(query, root):
    """For each offset the captures that start there, in the order of the query's patterns."""
    found = {}
    for pattern, captures in QueryCursor(query).matches(root):
        for name, nodes in captures.items():
            for node in nodes:
                found.setdefault(node.start_byte, []).append((pattern, node.end_byte, name))
    return found


def main():
    language = load(sys.argv[1])
    queries = Path(sys.argv[2]) / "queries"
    highlights = Query(language, (queries / "highlights.scm").read_text())
    for other in ("folds.scm", "locals.scm"):
        Query(language, (queries / other).read_text())
    parser = Parser(language)
    given = json.load(sys.stdin)
    wrong, tokens, parsed = [], 0, 0
    for sample in given["samples"]:
        name, text = sample["name"], base64.b64decode(sample["text"])
        tree = parser.parse(text)
        parsed += 1
        if tree.root_node.has_error == sample["ok"]:
            wrong.append(f"{name}: {'refused' if sample['ok'] else 'accepted'}: {text[:200]!r}")
            continue
        if not sample["ok"]:
            continue
        found = captures_by_start(highlights, tree.root_node)
        for kind, start, end in sample["tokens"]:
            tokens += 1
            here = [entry for entry in found.get(start, []) if entry[1] == end]
            last = max(here)[2] if here else "nothing"
            if not last.startswith(CLASSES[kind]):
                line = text.count(b"\n", 0, start) + 1
                wrong.append(f"{name}:{line}: {kind} {text[start:end]!r} has {last}")
    shown = str(parser.parse(base64.b64decode(given["show"])).root_node)
    json.dump({"wrong": wrong, "tokens": tokens, "parsed": parsed, "shown": shown}, sys.stdout)


main()
