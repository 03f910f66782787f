//! The dialogue of a session as lines: for the log, if it is verbose, and for the last words about a
//! message.

/// More of a line than this is not kept.
const LINE: usize = 1024;

/// Cuts what one side says into lines.
#[derive(Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes bytes and gives each complete line without its end, made printable, to `line`.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE.saturating_sub(self.partial.len());
            self.partial
                .extend_from_slice(piece.get(..room).unwrap_or(piece));
            if piece.ends_with(b"\n") {
                let text = self.partial.trim_ascii_end();
                line(mask(&text.escape_ascii().to_string()));
                self.partial.clear();
            }
        }
    }
}

/// AUTH without the secret that may be in it.
fn mask(line: &str) -> String {
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some(verb), Some(mechanism), Some(_)) if verb.eq_ignore_ascii_case("AUTH") => {
            format!("{verb} {mechanism} ***")
        }
        _ => line.to_owned(),
    }
}

/// Code and text of the first reply in `bytes`.
pub(super) fn first_reply(bytes: &[u8]) -> Option<(u16, String)> {
    let mut text = String::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line.trim_ascii_end());
        let code = line.get(..3)?.parse().ok()?;
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line.get(4..).unwrap_or_default());
        if line.as_bytes().get(3) != Some(&b'-') {
            return Some((code, text));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_however_they_come_and_hold_no_secret() {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        let long = "x".repeat(5000);
        let said = format!("EHLO c\r\nauth PLAIN AGEAYg==\r\nNO\x1bOP\r\n{long}\r\nQUIT\r\n");
        for piece in said.as_bytes().chunks(7) {
            lines.feed(piece, |line| all.push(line));
        }
        assert_eq!(all[..3], ["EHLO c", "auth PLAIN ***", "NO\\x1bOP"]);
        assert_eq!((all[3].len(), all[4].as_str()), (LINE, "QUIT"));
    }

    #[test]
    fn the_first_reply_is_found() {
        let two = b"550-5.7.1 No\r\n550 5.7.1 thanks\r\n250 Ok\r\n";
        assert_eq!(
            first_reply(two),
            Some((550, "5.7.1 No\n5.7.1 thanks".to_owned()))
        );
        assert_eq!(first_reply(b"250\r\n"), Some((250, String::new())));
        assert_eq!(first_reply(b""), None);
    }
}
