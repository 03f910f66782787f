//! Macros of SPF records and explanations (RFC 7208 §7).

/// A text with macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MacroString {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Macro(Macro),
    /// `%%`, `%_` and `%-`.
    Escape(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Macro {
    letter: u8,
    escape: bool,
    keep: usize,
    reverse: bool,
    delimiters: String,
}

/// What the letters stand for.
pub(super) struct Values<'a> {
    pub(super) sender_local: &'a str,
    pub(super) sender_domain: &'a str,
    pub(super) domain: &'a str,
    pub(super) ip: std::net::IpAddr,
    /// The validated name of the client; asked for only when [`MacroString::uses_validated`].
    pub(super) validated: &'a str,
    pub(super) helo: &'a str,
    pub(super) receiver: &'a str,
    pub(super) now: u64,
}

impl MacroString {
    /// Reads a text; `explanation` allows what only explanations may have: spaces and the letters c, r and t.
    pub(super) fn parse(text: &str, explanation: bool) -> Option<MacroString> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = rest.find('%').unwrap_or(rest.len());
            let (literal, after) = rest.split_at_checked(at)?;
            let visible = |byte: u8| byte.is_ascii_graphic() || (explanation && byte == b' ');
            if !literal.bytes().all(visible) {
                return None;
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            let Some(after) = after.strip_prefix('%') else {
                break;
            };
            let mut chars = after.chars();
            pieces.push(match chars.next()? {
                '%' => Piece::Escape("%"),
                '_' => Piece::Escape(" "),
                '-' => Piece::Escape("%20"),
                '{' => {
                    let (inside, after) = chars.as_str().split_once('}')?;
                    pieces.push(Piece::Macro(Macro::parse(inside, explanation)?));
                    rest = after;
                    continue;
                }
                _ => return None,
            });
            rest = chars.as_str();
        }
        Some(MacroString { pieces })
    }

    /// Whether the last thing is a macro, an escape included.
    pub(super) fn ends_in_macro(&self) -> bool {
        matches!(self.pieces.last(), Some(Piece::Macro(_) | Piece::Escape(_)))
    }

    /// Whether the client's validated name is needed.
    pub(super) fn uses_validated(&self) -> bool {
        let letters = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Macro(letter) => Some(letter.letter),
            _ => None,
        });
        letters.into_iter().any(|letter| letter == b'p')
    }

    /// The text with the macros replaced.
    pub(super) fn expand(&self, values: &Values<'_>) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Escape(text) => out.push_str(text),
                Piece::Macro(letter) => letter.expand(values, &mut out),
            }
        }
        out
    }
}

impl Macro {
    /// `letter [digits] ["r"] *delimiter`
    fn parse(text: &str, explanation: bool) -> Option<Macro> {
        let first = *text.as_bytes().first()?;
        let letter = first.to_ascii_lowercase();
        let known: &[u8] = if explanation {
            b"slodipvhcrt"
        } else {
            b"slodipvh"
        };
        if !known.contains(&letter) {
            return None;
        }
        let rest = text.get(1..)?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits, rest) = rest.split_at_checked(digits)?;
        let keep = match digits {
            "" => usize::MAX,
            digits => digits.parse().ok().filter(|&keep| keep > 0)?,
        };
        let delimiters = rest.strip_prefix(['r', 'R']).unwrap_or(rest);
        if !delimiters.bytes().all(|byte| b".-+,/_=".contains(&byte)) {
            return None;
        }
        Some(Macro {
            letter,
            escape: first.is_ascii_uppercase(),
            keep,
            reverse: delimiters.len() < rest.len(),
            delimiters: if delimiters.is_empty() {
                ".".to_owned()
            } else {
                delimiters.to_owned()
            },
        })
    }

    fn expand(&self, values: &Values<'_>, out: &mut String) {
        let value = match self.letter {
            b's' => format!("{}@{}", values.sender_local, values.sender_domain),
            b'l' => values.sender_local.to_owned(),
            b'o' => values.sender_domain.to_owned(),
            b'd' => values.domain.to_owned(),
            b'i' => dotted(values.ip),
            b'p' => values.validated.to_owned(),
            b'v' => match values.ip {
                std::net::IpAddr::V4(_) => "in-addr".to_owned(),
                std::net::IpAddr::V6(_) => "ip6".to_owned(),
            },
            b'h' => values.helo.to_owned(),
            b'c' => values.ip.to_string(),
            b'r' => values.receiver.to_owned(),
            _ => values.now.to_string(),
        };
        let mut parts: Vec<&str> = value.split(|c| self.delimiters.contains(c)).collect();
        if self.reverse {
            parts.reverse();
        }
        let kept = parts.len().saturating_sub(self.keep);
        let text = parts.get(kept..).unwrap_or_default().join(".");
        if !self.escape {
            out.push_str(&text);
            return;
        }
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
}

/// An address with a dot after each part, as names have it: of IPv6 each nibble.
fn dotted(ip: std::net::IpAddr) -> String {
    match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => {
            let nibbles = ip
                .octets()
                .into_iter()
                .flat_map(|byte| [byte >> 4, byte & 15]);
            let nibbles: Vec<String> = nibbles.map(|nibble| format!("{nibble:X}")).collect();
            nibbles.join(".")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> String {
        let values = Values {
            sender_local: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            ip: "192.0.2.3".parse().unwrap(),
            validated: "mx.example.org",
            helo: "mx",
            receiver: "here",
            now: 7,
        };
        MacroString::parse(text, true).unwrap().expand(&values)
    }

    #[test]
    fn the_examples_of_section_7_4_come_out() {
        for (text, expanded) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l-}", "strong.bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            (
                "%{ir}.%{v}._spf.%{d2}",
                "3.2.0.192.in-addr._spf.example.com",
            ),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            (
                "%{p} %{c} %{r} %{t}%%%-",
                "mx.example.org 192.0.2.3 here 7%%20",
            ),
            ("%{S}", "strong-bad%40email.example.com"),
        ] {
            assert_eq!(expand(text), expanded);
        }
    }
}
