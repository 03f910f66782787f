"""Sends messages with smtplib, many sessions at a time.

usage: send.py HOST PORT SESSIONS PER_CONNECTION < MANIFEST

Each line of the manifest is FILE TAB SENDER TAB RECIPIENT. For each message a line is printed:
RECIPIENT TAB CODE TAB TEXT. Code 0 means that the connection failed.
"""

import queue
import smtplib
import sys
import threading


def attempt(session, path, sender, recipient):
    with open(path, "rb") as file:
        content = file.read()
    options = ["BODY=8BITMIME"] if any(byte > 127 for byte in content) else []
    # sendmail keeps the replies to itself: the same steps, one by one.
    code, text = session.mail(sender, options + [f"size={len(content)}"])
    if code == 250:
        code, text = session.rcpt(recipient)
    if code == 250:
        return session.data(content)
    session.rset()
    return code, text


def work(host, port, per_connection, jobs, results):
    session, left = None, 0
    while True:
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            break
        try:
            if left == 0:
                if session:
                    session.quit()
                session, left = smtplib.SMTP(host, port, timeout=120), per_connection
                session.ehlo("client.example")
            left -= 1
            code, text = attempt(session, *job)
        except (OSError, smtplib.SMTPException) as error:
            session, left = None, 0
            code, text = 0, repr(error).encode()
            if isinstance(error, smtplib.SMTPResponseException):
                code, text = error.smtp_code, error.smtp_error
        line = text.decode("latin-1").replace("\n", " ").replace("\t", " ")
        results.append(f"{job[2]}\t{code}\t{line}")
    if session:
        try:
            session.quit()
        except (OSError, smtplib.SMTPException):
            pass


def main():
    host, port, sessions, per_connection = sys.argv[1], *map(int, sys.argv[2:5])
    jobs, results = queue.Queue(), []
    for line in sys.stdin:
        jobs.put(line.rstrip("\n").split("\t"))
    threads = [
        threading.Thread(target=work, args=(host, port, per_connection, jobs, results))
        for _ in range(sessions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(results))


main()
