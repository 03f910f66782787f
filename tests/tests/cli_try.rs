//! `angarium try` from outside: each hook of the quickstart bundle, and what is wrong with the arguments.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it starts real programs on real files"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use angarium_tests::program::angarium;

fn run(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(angarium())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    // What differs from run to run and from machine to machine.
    let mut text = text;
    for (pattern, name) in [
        ("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "(id)"),
        (r"220 \S+ ESMTP", "220 (host) ESMTP"),
        (r"changed to \d+ bytes", "changed to (some) bytes"),
    ] {
        let pattern = regex::Regex::new(pattern).unwrap();
        text = pattern.replace_all(&text, name).into_owned();
    }
    // Fuel is measured elsewhere; here it must be there, and more than none.
    let lines = text
        .lines()
        .map(|line| match line.strip_prefix("fuel     ") {
            Some(fuel) => {
                // A script may fail before the first of it is spent.
                let spent = fuel.parse::<u64>().unwrap();
                assert!(spent > 0 || text.contains("\nerror "), "{text}");
                "fuel     (some)"
            }
            None => line,
        });
    let lines: Vec<&str> = lines.collect();
    format!(
        "# {}: {}\n{}\n",
        arguments.join(" "),
        output.status.code().unwrap_or(-1),
        lines.join("\n")
    )
}

#[test]
fn each_hook_can_be_tried() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    assert!(run(&["init", "b"], here).contains(": 0\n"));
    fs::write(
        here.join("mail.eml"),
        "From: a@example.net\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\n.dot\nend\n",
    )
    .unwrap();
    let mut report = String::new();
    for arguments in [
        &["try", "connect", "b"][..],
        &[
            "try",
            "connect",
            "b",
            "--set",
            "connection.remoteip=192.0.2.7",
        ],
        &[
            "try",
            "connect",
            "b",
            "--set",
            "arguments.remoteip=192.0.2.7",
        ],
        &[
            "try",
            "helo",
            "b",
            "--set",
            "arguments.host=localhost",
            "--set",
            "connection.remoteip=203.0.113.9",
        ],
        &[
            "try",
            "mailfrom",
            "b",
            "--set",
            "arguments.sender=a@nowhere.invalid",
        ],
        &["try", "rcptto", "b"],
        &[
            "try",
            "rcptto",
            "b",
            "--set",
            "connection.remoteip=203.0.113.9",
            "--set",
            "arguments.recipient=you@elsewhere.example",
        ],
        &["try", "eod", "b", "--mail", "mail.eml"],
        &["try", "predelivery", "b"],
        &["try", "postdelivery", "b"],
        &[
            "try",
            "postdelivery",
            "b",
            "--set",
            "arguments.attempt.result.code=550",
        ],
        &["try", "disconnect", "b"],
        &["try", "auth", "b"],
        &["try", "nothing", "b"],
        &["try", "connect", "b", "--set", "arguments.remoteip=here"],
        &[
            "try",
            "connect",
            "b",
            "--set",
            "connection.remotip=192.0.2.7",
        ],
        &[
            "try",
            "connect",
            "b",
            "--set",
            "arguments.recipient=a@example.com",
        ],
        &["try", "rcptto", "b", "--set", "arguments.recipient=nobody"],
        &["try", "eod", "b", "--mail", "missing.eml"],
    ] {
        report.push_str(&run(arguments, here));
    }
    insta::assert_snapshot!(report);
}

#[test]
fn a_script_shows_what_it_sees_prints_and_queues() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    run(&["init", "b"], here);
    fs::write(
        here.join("b/src/hooks/eod/default.hsl"),
        "$mail = $arguments[\"mail\"];\n\
         echo $mail->getHeader(\"Subject\") . \" from \" . $transaction[\"sender\"];\n\
         echo $connection[\"auth\"];\n\
         $mail->queue($transaction[\"senderaddress\"], [\"localpart\" => \"x\", \"domain\" => \"example.org\"], \"outbound\", [\"hold\" => true]);\n\
         $mail->addHeader(\"X-A\", \"1\");\n\
         $mail->queue(\"\", \"y@example.org\", \"inbound\", [\"delay\" => 90]);\n\
         if ($context[\"no\"] ?? false) Defer(\"Later\");\n\
         Reject(\"Kept\", [\"disconnect\" => true]);\n",
    )
    .unwrap();
    fs::write(
        here.join("b/src/hooks/queue/postdelivery.hsl"),
        "echo $arguments[\"action\"] ?? \"none\";\necho $arguments[\"attempt\"][\"result\"][\"code\"];\n\
         if ($arguments[\"retry\"] > 1) Bounce();\nQueue([\"delay\" => 30]);\n",
    )
    .unwrap();
    let mut report = String::new();
    for arguments in [
        &[
            "try",
            "eod",
            "b",
            "--set",
            "connection.auth.username=joe",
            "--set",
            "transaction.sender=b@example.net",
        ][..],
        &["try", "eod", "b", "--set", "context={\"no\": true}"],
        &[
            "try",
            "postdelivery",
            "b",
            "--set",
            "arguments.attempt.result.code=451",
        ],
        &[
            "try",
            "postdelivery",
            "b",
            "--set",
            "arguments.attempt.result.code=451",
            "--set",
            "arguments.retry=2",
        ],
    ] {
        report.push_str(&run(arguments, here));
    }
    insta::assert_snapshot!(report);
}

#[test]
fn an_eod_hook_that_runs_for_each_recipient_can_be_checked_and_tried() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let file = |name: &str, text: &str| {
        let path = here.join("b").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file(
        "src/config/smtpd.yaml",
        "version: '6.0'\nservers:\n  - id: each\n    listeners: [{port: 2525}]\n  - id: once\n    listeners: [{port: 2526}]\n",
    );
    file(
        "src/config/smtpd-app.yaml",
        "version: '6.0'\nscripting: {compat: 5}\nservers:\n\
         - id: each\n  transport: out\n  phases: {eod: {hook: each, perrecipient: true}, rcptto: {hook: default}}\n\
         - id: once\n  transport: out\n  phases: {eod: {hook: once}}\n\
         transportgroups:\n- id: all\n  transports: [{id: out}, {id: slow}]\n",
    );
    file(
        "src/hooks/eod/each.hsl",
        "echo \"$senderip $sender $recipient $transportid $actionid\";\n\
         if ($recipientlocalpart == \"nobody\") Reject(\"Nobody here\");\n\
         if ($recipientlocalpart == \"spam\") Quarantine(\"spam\", [\"reject\" => false]);\n\
         if ($recipientlocalpart == \"broken\") throw \"oops\";\n\
         if ($recipientlocalpart == \"nothing\") Done();\n\
         AddHeader(\"X-Seen\", \"yes\");\n\
         SetMailTransport(\"slow\");\n\
         Deliver([\"delay\" => 60]);\n",
    );
    file("src/hooks/eod/once.hsl", "Accept();\n");
    file(
        "src/hooks/rcptto/default.hsl",
        "if ($senderip == \"192.0.2.9\") Reject(\"Not you, $senderhelo\");\nSetRecipient(\"other@example.com\");\nAccept();\n",
    );
    let to = |recipient: &str| {
        run(
            &[
                "try",
                "eod",
                "b",
                "--set",
                &format!("recipient={recipient}"),
            ],
            here,
        )
    };
    let shown = [
        run(&["lint", "b/src/hooks/eod/each.hsl"], here),
        run(&["lint", "b/src/hooks/eod/once.hsl"], here),
        run(&["lint", "b/src/hooks/rcptto/default.hsl"], here),
        run(&["pack", "b"], here),
        to("someone@example.com"),
        to("nobody@example.com"),
        to("spam@example.com"),
        to("broken@example.com"),
        to("nothing@example.com"),
        run(
            &[
                "try",
                "eodrcpt",
                "b",
                "--set",
                "senderip=2001:db8::1",
                "--set",
                "transportid=slow",
                "--set",
                "sender=me@example.org",
            ],
            here,
        ),
        run(&["try", "eodrcpt", "b", "--server", "once"], here),
        run(&["try", "eod", "b", "--server", "once"], here),
        run(&["try", "eodrcpt", "b", "--set", "tlsstarted=true"], here),
        run(
            &["try", "eodrcpt", "b", "--set", "arguments.recipient=a@b"],
            here,
        ),
        run(&["try", "rcptto", "b", "--set", "senderip=192.0.2.9"], here),
        run(&["try", "rcptto", "b"], here),
    ];
    insta::assert_snapshot!(shown.concat());
}
