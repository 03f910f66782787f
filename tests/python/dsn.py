"""Reads delivery status notifications with Python's email and flufl.bounce.

Standard input: a JSON list of messages in base64. Standard output: a JSON list of what was found in each: the fields of
the header, the parts with their types and texts, the groups of the status part, what is wrong with the structure, and
the recipients that flufl.bounce finds as [for now, for good]; null for those where it is not installed.
"""

import base64
import email
import email.policy
import json
import sys

try:
    from flufl.bounce import all_failures
except ImportError:
    all_failures = None


def text(part):
    """The text of a part; of a returned message its subject."""
    if part.is_multipart():
        return str(part.get_payload()[0]["subject"])
    return part.get_payload(decode=True).decode("utf-8", "replace")


def groups(part):
    """The groups of fields of a status part. The one of RFC 6533 is a text to Python."""
    if part.get_content_type() == "message/delivery-status":
        blocks = part.get_payload()
    elif part.get_content_type() == "message/global-delivery-status":
        whole = part.get_payload(0).as_bytes() if part.is_multipart() else part.get_payload(decode=True)
        blocks = [email.message_from_string(b) for b in whole.decode("utf-8").strip().split("\r\n\r\n")]
    else:
        return None
    return [{k.lower(): str(v).replace("\r\n", "").strip() for k, v in b.items()} for b in blocks]


def read(message):
    parsed = email.message_from_bytes(message, policy=email.policy.SMTPUTF8)
    parts = [p for p in parsed.iter_parts()]
    status = [groups(p) for p in parts]
    found = None
    if all_failures:
        compat = email.message_from_bytes(message)
        found = [sorted(a.decode() for a in kind) for kind in all_failures(compat)]
    return {
        "header": [[name, str(value)] for name, value in parsed.items()],
        "type": parsed.get_content_type(),
        "report": parsed.get_param("report-type"),
        "types": [p.get_content_type() for p in parts],
        "texts": [text(p) if g is None else None for p, g in zip(parts, status)],
        "status": next((g for g in status if g is not None), None),
        "defects": [str(d) for p in parsed.walk() for d in p.defects],
        "flufl": found,
    }


json.dump([read(base64.b64decode(m)) for m in json.load(sys.stdin)], sys.stdout)
