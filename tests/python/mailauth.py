"""Signs and verifies messages with dkimpy, another implementation.

Standard input: a JSON list of jobs. Standard output: a JSON list of their outcomes; null for each where dkimpy is not
installed. Messages and signatures are in base64, `records` maps names to TXT records.

    {"do": "verify", "message": …, "records": …}      whether each DKIM-Signature holds
    {"do": "arc", "message": …, "records": …}         the status of the ARC chain
    {"do": "sign", "message": …, "key": …, …}         the signature field
    {"do": "seal", "message": …, "key": …, …}         the fields of an ARC set
"""

import base64
import json
import sys

try:
    import dkim
    import nacl  # noqa: F401, Ed25519 needs it
except ImportError:
    dkim = None


def run(job):
    message = base64.b64decode(job["message"])
    records = {name.lower(): text for name, text in job.get("records", {}).items()}

    def ask(name, timeout=5):
        text = records.get(name.decode().rstrip(".").lower())
        return None if text is None else text.encode()

    if job["do"] == "verify":
        checked = dkim.DKIM(message)
        count = sum(name.lower() == b"dkim-signature" for name, _ in checked.headers)
        found = []
        for index in range(count):
            try:
                found.append(bool(checked.verify(idx=index, dnsfunc=ask)))
            except dkim.DKIMException as error:
                found.append(str(error))
        return found
    if job["do"] == "arc":
        status, _, reason = dkim.arc_verify(message, dnsfunc=ask)
        return [status.decode(), str(reason)]
    key = job["key"].encode()
    if job["do"] == "sign":
        header, body = (name.encode() for name in job["canon"])
        signer = dkim.DKIM(message, signature_algorithm=job["algorithm"].encode())
        signed = signer.sign(
            b"test",
            b"example.com",
            key,
            canonicalize=(header, body),
            length=job.get("length", False),
        )
        return base64.b64encode(signed).decode()
    sealed = dkim.arc_sign(message, b"test", b"example.com", key, b"lists.example.org")
    return base64.b64encode(b"".join(sealed)).decode()


def main():
    jobs = json.load(sys.stdin)
    outcomes = [None if dkim is None else run(job) for job in jobs]
    json.dump(outcomes, sys.stdout)


main()
