"""Checks senders with pyspf, another implementation of SPF.

Standard input: a JSON list of jobs. Standard output: a JSON list of [result, explanation]; null for each where pyspf is not
installed.

    {"ip": …, "helo": …, "sender": …, "records": {"name": {"TXT": [text …], "A": [address …], "MX": [name …]}}}

A name that begins with `broken.` cannot be looked up.
"""

import ipaddress
import json
import sys

try:
    import spf
except ImportError:
    spf = None


def run(job):
    records = {name.lower(): data for name, data in job["records"].items()}

    def ask(name, kind, *_):
        name = name.lower().rstrip(".")
        if name.startswith("broken."):
            raise spf.TempError("DNS timeout")
        found = records.get(name, {}).get(kind, [])
        if kind == "TXT":
            found = [(text.encode(),) for text in found]
        elif kind == "MX":
            found = list(enumerate(found))
        elif kind == "AAAA":
            found = [ipaddress.IPv6Address(address).packed for address in found]
        return [((name, kind), data) for data in found]

    spf.DNSLookup = ask
    query = spf.query(i=job["ip"], s=job["sender"], h=job["helo"], receiver="mx.example.org")
    result, _, explanation = query.check()
    return [result, explanation]


def main():
    jobs = json.load(sys.stdin)
    json.dump([None if spf is None else run(job) for job in jobs], sys.stdout)


main()
