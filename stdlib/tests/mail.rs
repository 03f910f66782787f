//! Mail as scripts write and change it.

#![allow(clippy::unwrap_used, reason = "a test stops this way")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::dns::TableDns;
use angarium_effects::{Clock, Monotonic, SeededRandom};
use angarium_lang::Source;
use angarium_lang::modules::NoFiles;
use angarium_mail::edits::Modified;
use angarium_runtime::host::{self, Host, Inline, Output};
use angarium_runtime::library::Library;
use angarium_runtime::native::{LocalFuture, Outcome, Throw};
use angarium_runtime::value::Value;
use angarium_runtime::{Execution, Limits, Unit, convert};
use angarium_stdlib::mailer::{Content, Deliver, MailService, Mailer, Order};
use angarium_stdlib::{CORE, regexp};
use futures_util::FutureExt as _;

struct Silent;

impl Output for Silent {
    fn echo(&self, _text: &[u8]) {}
    fn syslog(&self, _priority: u32, _message: &[u8]) {}
}

struct Fixed;

impl Clock for Fixed {
    fn monotonic(&self) -> Monotonic {
        Monotonic(std::time::Duration::from_secs(100))
    }
    fn unix(&self) -> std::time::Duration {
        std::time::Duration::from_secs(1_577_934_245)
    }
    fn local_offset(&self, _unix: i64) -> (i32, String) {
        (0, "UTC".to_owned())
    }
    fn sleep_until(&self, _at: Monotonic) -> LocalFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

/// Takes what is queued and sent: the order in one line, and the message.
#[derive(Default)]
struct Taken(RefCell<Vec<(String, String)>>);

impl Taken {
    fn take(self: &Rc<Self>, order: &Order<'_>) -> Deliver {
        let line = format!(
            "{} {:?} {:?} {:?} {:?}",
            order.function, order.sender, order.recipients, order.to, order.options
        );
        let this = Rc::clone(self);
        Box::new(move |content: Content| {
            let modified = Modified::new(content.source, content.edits, 0).unwrap();
            let text = String::from_utf8(modified.to_vec().unwrap()).unwrap();
            this.0.borrow_mut().push((line, text));
            let answer: LocalFuture<Outcome> =
                Box::pin(std::future::ready(Ok(Value::from("done"))));
            answer
        })
    }
}

struct Way(Rc<Taken>);

impl Mailer for Way {
    fn queue(&self, order: Order<'_>) -> Result<Deliver, Throw> {
        Ok(self.0.take(&order))
    }
    fn keeps(&self) -> bool {
        true
    }
    fn send(&self, order: Order<'_>) -> Result<Deliver, Throw> {
        Ok(self.0.take(&order))
    }
}

/// Runs a script and gives its value in dump form, or why there is none.
fn run(script: &str, taken: Option<&Rc<Taken>>) -> Result<String, String> {
    let library = Arc::new(Library::new(&[&CORE]).unwrap());
    let names = library.context("core").unwrap();
    let source = Source {
        name: "script",
        path: "",
        text: script.as_bytes(),
    };
    let compiled =
        angarium_lang::compile(source, &names, &NoFiles).map_err(|rejected| rejected.render())?;
    let unit = Unit::link(compiled.program, Arc::clone(&library), &regexp::ENGINE)
        .map_err(|error| error.render())?;
    let host = Host::new(
        Rc::new(Fixed),
        Rc::new(SeededRandom::new(1)),
        Rc::new(TableDns::default()),
        Arc::new(Inline),
        Rc::new(Silent),
        Rc::new(host::NoFiles),
        &regexp::ENGINE,
        "host.example".into(),
    );
    if let Some(taken) = taken {
        host.extend(Rc::new(MailService(Rc::new(Way(Rc::clone(taken))))));
    }
    let mut execution = Execution::new(&unit, Rc::new(host), Vec::new(), Limits::default());
    let mut running = std::pin::pin!(execution.drive());
    // Nothing outside is waited for: a script that gives others their turn is polled again.
    let polls = std::iter::repeat_with(|| running.as_mut().now_or_never());
    match polls.take(10_000).flatten().next() {
        None => Err("it waits for something".to_owned()),
        Some(Err(ended)) => Err(ended.to_string()),
        Some(Ok(value)) => Ok(String::from_utf8_lossy(&convert::dump(&value)).into_owned()),
    }
}

const MIXED: &str = "Subject: s\\r\\nContent-Type: multipart/mixed; boundary=a\\r\\n\\r\\npre\\r\\n--a\\r\\n\\r\\none\\r\\n\
    --a\\r\\nContent-Type: text/html; name=x.html\\r\\n\\r\\ntwo\\r\\n--a--\\r\\nepi\\r\\n";

#[test]
fn parts_are_read_and_changed_and_getters_show_the_original() {
    let script = format!(
        r#"
        $mail = MailMessage::String("{MIXED}");
        $two = $mail->findByFileName("html$")[0];
        $one = $mail->getByID("0.1");
        $snapshot = $mail->snapshot();
        $two->setBody("new", ["encoding" => "base64"])->setHeader("X", "1");
        $one->remove();
        $two->appendPart(MIME()->setType("image/png")->setBody("\x00"));
        $mail->setPreamble("before")->setEpilogue("after");
        $seen = [$two->getBody(), $mail->getPreamble(), length($mail->getParts()), $two->getHeader("x")];
        $after = MailMessage::String($mail->toString());
        $bodies = [];
        foreach ($after->getParts() as $part) $bodies[] = $part->getBody();
        $changed = [$bodies, $after->getPreamble(), $after->getEpilogue(), $after->getByID("0.1")->getHeader("x")];
        $ok = $mail->restore($snapshot);
        return [$seen, $changed, $ok, $mail->toString() == "{MIXED}", $mail->reset()];
        "#
    );
    assert_eq!(
        run(&script, None).unwrap(),
        "[0=>[0=>\"two\",1=>\"pre\",2=>2,3=>none],1=>[0=>[0=>\"new\",1=>''\0''],1=>\"before\",2=>\"after\",3=>\"1\"],\
         2=>true,3=>true,4=>0]"
    );
}

#[test]
fn a_part_of_one_message_can_be_put_into_another() {
    let script = format!(
        r#"
        $from = MailMessage::String("{MIXED}");
        $part = $from->getByID("0.2");
        $part->setHeader("Content-Type", "text/x");
        $mail = MailMessage::String("A: 1\n\nbody\n");
        $mail->appendPart($part)->prependPart(MIME()->setBody("first"));
        $after = MailMessage::String($mail->toString());
        $found = [];
        foreach ($after->getParts() as $one) $found[] = [$one->getType(), $one->getBody()];
        return [$after->getType(), $found];
        "#
    );
    assert_eq!(
        run(&script, None).unwrap(),
        "[0=>\"multipart/mixed\",1=>[0=>[0=>\"text/plain\",1=>\"first\"],1=>[0=>none,1=>''body\n''],2=>[0=>\"text/x\",1=>\"two\"]]]"
    );
}

#[test]
fn what_cannot_be_done_is_an_exception() {
    for (script, why) in [
        ("MailMessage::String(\"\")->remove();", "cannot be removed"),
        (
            "MailMessage::String(\"\")->setBody(\"\", [\"encoding\" => \"uuencode\"]);",
            "uuencode",
        ),
        (
            "MailMessage::String(\"\")->appendPart(MIME(), [\"type\" => \"text/plain\"]);",
            "multipart/",
        ),
        ("MailMessage::String(\"\")->appendPart(1);", "argument 1"),
        (
            "MailMessage::String(\"A: 1\")->modifyContent(3, 5, \"\");",
            "beyond the end",
        ),
        (
            "$m = MailMessage::String(\"A: 1\"); $m->setHeader(\"A\", \"2\"); $m->modifyContent(3, 1, \"\");",
            "overlap",
        ),
        ("$m = MIME(); $m->appendPart($m);", "hold itself"),
        (
            "MIME()->setType(\"text/plain\")->appendPart(MIME())->toString();",
            "text/plain cannot hold parts",
        ),
        (
            "MIME()->addHeader(\"A\", \"\", [\"encoding\" => \"x\"]);",
            "neither quoted-printable nor base64",
        ),
        (
            "MIME()->signDKIM(\"s\", \"d.test\", \"no key\");",
            "signDKIM",
        ),
        (
            "MIME()->queue(\"\", \"a@b.test\", \"t\");",
            "no mail server",
        ),
        (
            "MailMessage::String(\"\")->send(\"\", [\"a@b.test\"], \"t\");",
            "no mail server",
        ),
        (
            "mail(\"\", \"a@b.test\", \"s\", \"b\", \"t\");",
            "no mail server",
        ),
    ] {
        let error = run(script, None).unwrap_err();
        assert!(error.contains(why), "{script}: {error}");
    }
}

/// An Ed25519 key of 32 bytes, in base64 nowhere secret.
const KEY: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn what_is_queued_and_sent_is_what_was_written() {
    let taken = Rc::<Taken>::default();
    let script = r#"
        $mail = MailMessage::String("A: 1\n\nbody");
        $mail->setHeader("A", "2");
        $first = $mail->queue("", "a@b.test", "t", ["hold" => true]);
        MIME()->addHeader("Subject", "s")->setBody("x")->queue(["localpart" => "a", "domain" => "b"], "a@b.test", "t");
        MIME()->setBody("y")->send("", ["a@b.test"], ["host" => "127.0.0.1"]);
        return [$first, mail("s@x.test", "r@y.test", "Subj", "text", "t",
            ["sender_name" => "S, \r\nX: y", "headers" => ["X-A" => "1\r\nX-B: 2"]]), mail("", "", "", "", "t")];
    "#;
    let value = run(script, Some(&taken)).unwrap();
    assert_eq!(value, "[0=>\"done\",1=>none,2=>none]");
    let taken = taken.0.borrow();
    let all: Vec<String> = taken
        .iter()
        .map(|(line, text)| format!("{line}\n{}\n", text.replace("\r\n", "\n")))
        .collect();
    insta::assert_snapshot!(all.join("----\n"));
}

#[test]
fn a_signed_message_verifies() {
    let script = format!(
        r#"
        $text = MIME()->addHeader("From", "a@d.test")->setBody("Hello\n")->signDKIM("s", "d.test", "{KEY}",
            ["algorithm" => "ed25519-sha256"])->toString();
        $mail = MailMessage::String($text);
        return [$mail->getHeaderNames()[0], str_find($mail->getHeader("DKIM-Signature"), "d=d.test") >= 0];
        "#
    );
    assert_eq!(
        run(&script, None).unwrap(),
        "[0=>\"dkim-signature\",1=>true]"
    );
}

#[test]
fn large_messages_are_written_and_read_on_the_pool() {
    let script = r#"
        $big = str_repeat("0123456789\x00", 100000);
        $text = MIME()->setType("application/x")->setBody($big)->toString();
        $mail = MailMessage::String(str_repeat("x", 10) . ": y\r\n" . $text);
        $mail->appendPart(MIME()->setType("a/b")->setBody($big));
        $after = MailMessage::String($mail->toString());
        $parts = $after->getParts();
        return [$mail->getBody() == $big, $parts[0]->getBody() == $big, $parts[1]->getBody() == $big, length($parts)];
    "#;
    assert_eq!(run(script, None).unwrap(), "[0=>true,1=>true,2=>true,3=>2]");
}
