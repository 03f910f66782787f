"""Makes random cases with what Python makes of them, and decodes what was encoded elsewhere.

A case is a line of JSON: `run` is an expression with $0, $1 ... for its arguments (in base64), `want` its value in base64,
or `verify` says how `verify` has to read what the expression gives.
"""
import base64
import binascii
import csv
import email.header
import io
import json
import random
import struct
import sys
import urllib.parse
import zlib

R = random.Random(20240229)


def b64(data):
    return base64.b64encode(data).decode()


def out(kind, run, args, want=None, verify=None):
    row = {"kind": kind, "run": run, "args": [b64(arg) for arg in args]}
    if verify is not None:
        row["verify"] = verify
    else:
        row["want"] = None if want is None else b64(want)
    print(json.dumps(row))


def noise(most=60):
    alphabet = R.choice([bytes(range(256)), b"ab", b"abcdefgh \r\n,;\"=+%&", b"\x00\xff"])
    return bytes(R.choice(alphabet) for _ in range(R.randrange(most)))


def text(most=20):
    alphabet = R.choice(["abc ", "aå€😀\"\\/\b\f\n\r\t\x01\x7f\u2028", "a,;\" \r\n", "0123456789"])
    return "".join(R.choice(alphabet) for _ in range(R.randrange(most)))


def value(depth=4):
    kind = R.randrange(8 if depth else 5)
    if kind == 0:
        return None
    if kind == 1:
        return R.random() < 0.5
    if kind == 2:
        return R.randrange(-2**53, 2**53) if R.random() < 0.5 else R.randrange(-20, 20)
    if kind == 3:
        return R.choice([R.uniform(-10, 10), R.uniform(-1, 1) * 10.0 ** R.randrange(-30, 40)])
    if kind == 4:
        return text()
    if kind < 7:
        return [value(depth - 1) for _ in range(R.randrange(5))]
    return {"k" + text(6): value(depth - 1) for _ in range(R.randrange(5))}


def plain(item):
    """Empty lists and empty objects are one, and all numbers are doubles."""
    if isinstance(item, dict):
        return {key: plain(part) for key, part in item.items()} or []
    if isinstance(item, list):
        return [plain(part) for part in item]
    if isinstance(item, int) and not isinstance(item, bool):
        return float(item)
    return item


def generate():
    for _ in range(250):
        item = value()
        form = R.choice([{}, {"ensure_ascii": False}, {"indent": R.randrange(4)}, {"separators": (" ,\r\n", "\t: ")}])
        source = json.dumps(item, **form).encode()
        options = R.choice(["", ', ["ensure_ascii" => false]', ', ["pretty_print" => true]'])
        out("json", f"json_encode(json_decode($0){options})", [source], verify={"json": source.decode()})
        if isinstance(item, (list, dict)) and item:
            broken = source.strip()[:-1]
            out("json, broken", "json_decode($0)", [broken], None)

    for _ in range(250):
        delimiter = R.choice([",", ";", "\t", "|"])
        width = R.randrange(1, 5)
        lists = [[text(8) for _ in range(width)] for _ in range(R.randrange(1, 5))]
        # A record of one empty field looks like a blank line, which is skipped.
        lists = [row for row in lists if row != [""]] or [["x"] * width]
        file = io.StringIO()
        quoting = R.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=R.choice(["\n", "\r\n"])).writerows(lists)
        source = file.getvalue()
        # A lone CR is a line end to Python only where it is not quoted.
        if any("\r" in field for row in lists for field in row) and quoting == csv.QUOTE_MINIMAL:
            continue
        options = f'["header" => false, "delimiter" => $1]'
        out("csv, decode", f"json_encode(csv_decode($0, {options}))", [source.encode(), delimiter.encode()],
            verify={"json": json.dumps(lists)})
        row = lists[0]
        source = json.dumps(row).encode()
        out("csv, encode", "csv_encode(json_decode($0), [\"delimiter\" => $1])", [source, delimiter.encode()],
            verify={"csv": row, "delimiter": delimiter})

    for _ in range(250):
        data = noise(60) * R.choice([1, 1, 20, 300])
        level = R.randrange(10)
        bits = R.choice([15, 15, 9, 12, -15, -9, 31, 25])
        packer = zlib.compressobj(level, zlib.DEFLATED, bits)
        packed = packer.compress(data) + packer.flush()
        out("zlib, uncompress", f"zlib_uncompress($0, {bits})", [packed], data)
        if bits > 0:
            out("zlib, either", f"zlib_uncompress($0, {15 | 32})", [packed], data)
            broken = bytearray(packed)
            at = R.randrange(len(broken))
            broken[at] ^= 1 << R.randrange(8)
            try:
                unpacker = zlib.decompressobj(bits)
                want = unpacker.decompress(bytes(broken)) + unpacker.flush()
                want = want if unpacker.eof else None
            except zlib.error:
                want = None
            out("zlib, broken", f"zlib_uncompress($0, {bits})", [bytes(broken)], want)
        out("zlib, cut off", f"zlib_uncompress($0, {bits})", [packed[:R.randrange(len(packed))]], None)
        out("zlib, compress", f"zlib_compress($0, {level}, {bits})", [data], verify={"zlib": b64(data), "bits": bits})

    for _ in range(150):
        data = noise()
        out("base64", "base64_encode($0)", [data], base64.b64encode(data))
        out("base64", "base64_decode($0)", [binascii.b2a_base64(data)], data)
        out("base64url", "base64url_encode($0)", [data], base64.urlsafe_b64encode(data).rstrip(b"="))
        out("base64url", "base64url_decode($0)", [base64.urlsafe_b64encode(data)], data)
        out("base32", "base32_encode($0)", [data], base64.b32encode(data))
        out("base32", "base32_decode($0)", [base64.b32encode(data)], data)
        out("url", "url_encode($0)", [data], urllib.parse.quote(data, safe="~").encode())
        out("url", "url_decode($0)", [data], urllib.parse.unquote_to_bytes(data))

    codes = {"C": "B", "n": ">H", "N": ">I", "v": "<H", "V": "<I", "e": "<d", "E": ">d"}
    for _ in range(200):
        code = R.choice(list(codes))
        bits = struct.calcsize(codes[code]) * 8
        number = R.uniform(-1e9, 1e9) if code in "eE" else R.randrange(2**bits)
        packed = struct.pack(codes[code], number)
        out("pack", f"pack(\"{code}\", $0)", [repr(number).encode()], packed)
        out("unpack", f"json_encode(unpack(\"{code}\", $0)) === json_encode([json_decode($1)]) ? \"same\" : \"other\"",
            [packed, repr(number).encode()], b"same")
        data = noise(20)
        count = R.randrange(24)
        out("pack", f"pack(\"a{count}\", $0)", [data], struct.pack(f"{count}s", data))
        out("pack", "pack(\"H*\", $0)", [data.hex().encode()], data)
        out("unpack", "unpack(\"H*\", $0)[0]", [data], data.hex().encode())

    for _ in range(150):
        words = text(60).replace("\n", " ").replace("\r", " ")
        out("mimeword", "mimeword_encode($0)", [words.encode()], verify={"word": words})
        charset = R.choice(["utf-8", "iso-8859-15", "windows-1251", "iso-2022-jp", "gb2312", "koi8-r"])
        sample = {"iso-8859-15": "å€ö ", "windows-1251": "привет ", "iso-2022-jp": "日本語a ", "gb2312": "中文a ",
                  "koi8-r": "привет ", "utf-8": "å€😀 a"}[charset]
        words = "x" + "".join(R.choice(sample) for _ in range(R.randrange(1, 50))) + "x"
        coded = email.header.Header(words, charset).encode(linesep="\r\n")
        out("mimeword", "mimeword_decode($0)", [coded.encode()], words.encode())

    samples = {
        "iso-8859-1": "aåÿ\x80", "iso-8859-2": "ąłž", "iso-8859-5": "жЯ", "iso-8859-7": "αΩ", "iso-8859-9": "ğış",
        "iso-8859-15": "€œ", "windows-1250": "žŁ", "windows-1251": "жЯ", "windows-1252": "€“é", "windows-1253": "αΩ",
        "koi8-r": "жЯ", "koi8-u": "ґє", "macintosh": "é∂", "cp437": "é█", "cp850": "éß", "cp852": "ąř", "cp866": "жЯ",
        "tis-620": "กข", "utf-8": "å€😀", "utf-16le": "å€😀", "utf-16be": "å€😀", "utf-32le": "å€😀", "utf-32be": "å€😀",
        "shift_jis": "日本ｱあ", "euc-jp": "日本ｱあ", "iso-2022-jp": "日本あ", "gbk": "中文", "gb18030": "中😀", "hz": "中文~",
        "big5": "中文", "euc-kr": "가한", "iso-2022-kr": "가한", "johab": "가한힣ㄱㅏㄳ日。", "us-ascii": "b",
    }
    theirs = {"macintosh": "mac-roman", "tis-620": "iso8859-11"}
    for charset, sample in samples.items():
        codec = theirs.get(charset, charset)
        for _ in range(8):
            words = "".join(R.choice(sample + "a\n ") for _ in range(R.randrange(30)))
            coded = words.encode(codec)
            out("charset", f"Iconv(\"{charset}\", \"utf-8\")->convert($0)", [coded], words.encode())
            if charset == "iso-2022-kr" or charset == "hz":
                # The shifts may stand elsewhere.
                out("charset", f"Iconv(\"utf-8\", \"{charset}\")->convert($0)", [words.encode()],
                    verify={"charset": codec, "text": words})
            else:
                out("charset", f"Iconv(\"utf-8\", \"{charset}\")->convert($0)", [words.encode()], coded)


def right(how, found):
    if "json" in how:
        return plain(json.loads(found.decode())) == plain(json.loads(how["json"]))
    if "csv" in how:
        return list(csv.reader(io.StringIO(found.decode(), newline=""), delimiter=how["delimiter"])) == [how["csv"]]
    if "zlib" in how:
        return zlib.decompress(found, how["bits"]) == base64.b64decode(how["zlib"])
    if "word" in how:
        return all(len(word) <= 75 for word in found.split(b" ") if word.startswith(b"=?")) and str(
            email.header.make_header(email.header.decode_header(found.decode()))) == how["word"]
    if "charset" in how:
        return found.decode(how["charset"]) == how["text"]
    return False


def verify():
    for line in sys.stdin:
        row = json.loads(line)
        found = base64.b64decode(row["found"])
        try:
            row["right"] = right(row["verify"], found)
        except Exception as error:
            row["right"], row["error"] = False, repr(error)
        print(json.dumps(row))


generate() if sys.argv[1] == "generate" else verify()
