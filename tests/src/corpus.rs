//! Messages to send: those of the conformance suites and generated ones, and what must arrive of each.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program;
use crate::random::Random;

/// A message as a client is given it.
#[derive(Debug)]
pub struct Sample {
    /// Where it is from, for people.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The folders of the suites whose files are messages.
const SUITES: [&str; 10] = [
    "mime-mailparser",
    "mime-mime4j",
    "mime-misc",
    "mime-python",
    "headers-mailparser",
    "dsn",
    "dsn-sisimai",
    "dkim",
    "dkim-mimekit",
    "dmarc",
];

/// The folder of the conformance suites, `$ANGARIUM_SUITES`; none, with a printed reason, if it is not at hand.
#[must_use]
pub fn suites_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ANGARIUM_SUITES")
        .map_or_else(|| program::root().join("../shared/suites"), PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: no suites at {}", folder.display());
        return None;
    }
    Some(folder)
}

/// All messages of the suites; empty, with a printed reason, if the suites are not at hand.
///
/// # Panics
/// If a suite that is there cannot be read.
#[must_use]
pub fn suites() -> Vec<Sample> {
    let Some(root) = suites_folder() else {
        return Vec::new();
    };
    let mut samples = Vec::new();
    for suite in SUITES {
        let mut folders = vec![root.join(suite)];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if is_message(suite, &path) {
                    samples.push(Sample {
                        name: path.strip_prefix(&root).unwrap().display().to_string(),
                        bytes: message_of(&path, fs::read(&path).unwrap()),
                    });
                }
            }
        }
    }
    samples.sort_by(|one, other| one.name.cmp(&other.name));
    samples
}

/// Whether a file of a suite is a message, as the suites' own descriptions say.
fn is_message(suite: &str, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name == "README.md" || name.starts_with("LICENSE") {
        return false;
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match suite {
        "mime-misc" => true,
        "mime-mime4j" => extension == "msg",
        "mime-python" | "dsn" => matches!(&*extension, "txt" | "msg" | "eml"),
        "dkim" => {
            matches!(
                &*extension,
                "message" | "msg" | "mbox" | "eml" | "baddomain"
            ) || path
                .parent()
                .is_some_and(|folder| folder.ends_with("mail-auth"))
        }
        "dmarc" => extension.starts_with("message"),
        "dkim-mimekit" => extension == "msg",
        _ => extension == "eml",
    }
}

/// The message in a file: some have key records and an empty line in front of it.
fn message_of(path: &Path, bytes: Vec<u8>) -> Vec<u8> {
    if !path
        .parent()
        .is_some_and(|folder| folder.ends_with("mail-auth"))
    {
        return bytes;
    }
    let end = find(&bytes, b"\n\n").map(|at| at + 2);
    let end = end.or_else(|| find(&bytes, b"\r\n\r\n").map(|at| at + 4));
    bytes.get(end.unwrap_or(0)..).unwrap_or_default().to_vec()
}

/// Generated messages: every size from nothing to several MiB, every kind of line end, dots where they hurt, NULs,
/// 8-bit bytes, very long lines.
#[must_use]
pub fn generated(count: usize, seed: u64) -> Vec<Sample> {
    let mut random = Random::new(seed);
    (0..count)
        .map(|number| {
            // A few are big, and the first few are very small.
            let size = match number {
                0..=8 => number,
                _ if number % 400 == 17 => 2_000_000 + random.index(3_000_000),
                _ if number % 50 == 9 => random.index(200_000),
                _ => {
                    let magnitude = 4 + random.index(10);
                    random.index(1 << magnitude)
                }
            };
            let bytes = match number % 200 {
                // One line and nothing else.
                33 => vec![b'x'; 100_000 + size],
                _ => message(&mut random, size),
            };
            Sample {
                name: format!("generated {number}"),
                bytes,
            }
        })
        .collect()
}

fn message(random: &mut Random, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 64);
    if size > 8 && random.below(8) > 0 {
        let end: &[u8] = [&b"\r\n"[..], b"\n"][random.index(2)];
        for field in [
            "From: <a@example.net>",
            "Subject: generated",
            "X-Folded: a\u{e9}",
        ] {
            bytes.extend_from_slice(field.as_bytes());
            bytes.extend_from_slice(end);
        }
        bytes.extend_from_slice(end);
    }
    // What kinds of bytes this message is made of.
    let kinds = 1 + random.below(255);
    // Most have lines of usual length, some a line that goes on and on.
    let line = [20, 80, 80, 1000, 100_000][random.index(5)];
    while bytes.len() < size {
        for _ in 0..random.index(line).min(size) {
            let byte = match random.below(16) {
                0 if kinds & 1 > 0 => 0,
                1 if kinds & 2 > 0 => 0x80 | (random.bits() >> 57) as u8,
                2 if kinds & 4 > 0 => b'.',
                3 if kinds & 8 > 0 => b' ',
                4 if kinds & 16 > 0 => (random.bits() >> 59) as u8,
                _ => b'!' + (random.below(94) as u8),
            };
            bytes.push(byte);
        }
        let end: &[u8] = match random.below(12) {
            0 if kinds & 32 > 0 => b"\n",
            1 if kinds & 64 > 0 => b"\r",
            2 if kinds & 128 > 0 => b"\r\r\n",
            3 if kinds & 32 > 0 => b"\n.\r\n",
            4 if kinds & 64 > 0 => b"\r\n.\r",
            5 => b"\r\n..",
            6 => b"\r\n.",
            7 => b"\r\n\r\n",
            _ => b"\r\n",
        };
        bytes.extend_from_slice(end);
    }
    bytes.truncate(size);
    bytes
}

/// What Python's smtplib puts on the wire for a message that it gets as bytes, without the line that ends it: a dot
/// after a line feed, whichever kind, is doubled, and a missing CRLF added.
#[must_use]
pub fn smtplib_wire(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 64);
    let mut previous = b'\n';
    for &byte in message {
        if byte == b'.' && previous == b'\n' {
            wire.push(b'.');
        }
        wire.push(byte);
        previous = byte;
    }
    if !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// What arrives of content that came over the wire: only CRLF ends a line there, so one dot at the start of such a
/// line is taken away; then a bare LF becomes CRLF and a lone CR a space.
#[must_use]
pub fn delivered(wire: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(wire.len() + 64);
    let mut rest = wire;
    while !rest.is_empty() {
        let end = find(rest, b"\r\n");
        let (line, next) = match end {
            Some(at) => (&rest[..at], &rest[at + 2..]),
            None => (rest, &[][..]),
        };
        for &byte in line.strip_prefix(b".").unwrap_or(line) {
            match byte {
                b'\n' => content.extend_from_slice(b"\r\n"),
                b'\r' => content.push(b' '),
                byte => content.push(byte),
            }
        }
        if end.is_some() {
            content.extend_from_slice(b"\r\n");
        }
        rest = next;
    }
    content
}

/// What stands in front of `expected` in `got`, if that is one Received field of ours and nothing else.
///
/// # Errors
/// With where they differ.
pub fn trace<'a>(got: &'a [u8], expected: &[u8]) -> Result<&'a str, String> {
    let Some(trace) = got.strip_suffix(expected) else {
        return Err(difference(got, expected));
    };
    let text = std::str::from_utf8(trace).map_err(|error| error.to_string())?;
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    let good = text.ends_with("\r\n")
        && lines.len() > 1
        && lines.iter().enumerate().all(|(number, line)| match number {
            0 => line.starts_with("Received: from "),
            _ => line.starts_with(['\t', ' ']),
        });
    if good {
        Ok(text)
    } else {
        Err(format!(
            "in front of the message stands {:?}",
            shorten(trace)
        ))
    }
}

/// Says from the end backwards where two texts differ, since the added field stands at the start.
fn difference(got: &[u8], expected: &[u8]) -> String {
    let same = got
        .iter()
        .rev()
        .zip(expected.iter().rev())
        .take_while(|(one, other)| one == other)
        .count();
    let around = |bytes: &[u8]| {
        let at = bytes.len() - same;
        let range = at.saturating_sub(24)..(at + 24).min(bytes.len());
        format!(
            "{} of {}: \"{}\"",
            at,
            bytes.len(),
            bytes[range].escape_ascii()
        )
    };
    format!(
        "they differ before byte {}; expected byte {}",
        around(got),
        around(expected)
    )
}

fn shorten(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(400)].escape_ascii().to_string()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let at = from + rest.iter().position(|byte| *byte == first)?;
        if bytes.get(at..)?.starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_follow_the_rule() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"a\r\n", b"a\r\n"),
            (b"a\nb\r\n", b"a\r\nb\r\n"),
            (b"a\rb\r\n", b"a b\r\n"),
            (b"a\r\r\n", b"a \r\n"),
            (b"..\r\n", b".\r\n"),
            (b"a\n..\r\n", b"a\r\n..\r\n"),
            (b"a\n\r\n.b\r\n", b"a\r\n\r\nb\r\n"),
            (b"\r\n", b"\r\n"),
        ];
        for (wire, expected) in cases {
            assert_eq!(
                delivered(wire).escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn generated_messages_hold_what_hurts() {
        let samples = generated(2000, 1);
        let any = |what: &[u8]| {
            samples
                .iter()
                .any(|sample| find(&sample.bytes, what).is_some())
        };
        for what in [
            &b"\0"[..],
            b"\r\n.",
            b"\n.\r\n",
            b"\r\r\n",
            b"a\n",
            b"\r\n..",
            b"\xff",
        ] {
            assert!(any(what), "{}", what.escape_ascii());
        }
        assert!(samples.iter().any(|sample| sample.bytes.len() > 2_000_000));
        assert!(samples.iter().any(|sample| sample.bytes.is_empty()));
        let longest = |sample: &Sample| {
            sample
                .bytes
                .split(|byte| *byte == b'\n')
                .map(<[u8]>::len)
                .max()
        };
        assert!(samples.iter().any(|sample| longest(sample) > Some(90_000)));
    }

    #[test]
    fn only_a_received_field_counts_as_trace() {
        let field = b"Received: from a\r\n\tby b;\r\n\tnow\r\nx\r\n";
        assert!(trace(field, b"x\r\n").is_ok());
        assert!(trace(b"x\r\n", b"x\r\n").is_err());
        assert!(trace(b"Received: from a\r\n\tb\r\nOther: c\r\nx\r\n", b"x\r\n").is_err());
        assert!(trace(field, b"y\r\n").unwrap_err().contains("differ"));
    }
}
