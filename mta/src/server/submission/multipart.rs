//! The parts of `multipart/form-data` as they stream by (RFC 7578, RFC 2046 §5.1).
//!
//! Bytes go in, events come out. Nothing is kept but a head of bounded length and as many bytes as a delimiter has, so that
//! the memory of a form does not depend on who sends it.

use memchr::memmem::Finder;

use angarium_mail::content_type::ContentType;

/// Bytes of a part's head.
const MOST_HEAD: usize = 8 * 1024;
/// Fields of a part's head.
const MOST_FIELDS: usize = 16;
/// Bytes before the first delimiter, and of white space behind one.
const MOST_PADDING: usize = 1024;
/// Bytes of a boundary (RFC 2046 §5.1.1).
const MOST_BOUNDARY: usize = 70;

/// Why something is no form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    /// The field Content-Type of the request.
    #[error("Content-Type is not multipart/form-data with a boundary")]
    ContentType,
    /// A head of a part.
    #[error("the head of a part cannot be read")]
    Head,
    /// A head without a name.
    #[error("a part has no Content-Disposition form-data with a name")]
    Name,
    /// A coding of a part, which RFC 7578 §4.7 does away with.
    #[error("a part has a Content-Transfer-Encoding")]
    Coding,
    /// No delimiter where one has to be.
    #[error("the body does not begin with the boundary, or a boundary is followed by other text")]
    Delimiter,
    /// The body ended before the last delimiter.
    #[error("the body ends before its last boundary")]
    Cut,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A part of this name begins.
    Part(String),
    /// Some of its content.
    Data(Vec<u8>),
    /// It is whole.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first delimiter.
    Preamble,
    /// Behind a delimiter.
    Delimiter,
    /// In the head of a part.
    Head,
    /// In its content.
    Content,
    /// Behind the last delimiter: what follows means nothing.
    Over,
}

/// Takes a form apart.
pub(super) struct Form {
    state: State,
    /// CRLF, two dashes, the boundary.
    delimiter: Finder<'static>,
    held: Vec<u8>,
}

impl Form {
    /// A form with the boundary of this Content-Type.
    pub(super) fn new(content_type: &[u8]) -> Result<Form, FormError> {
        let parsed = ContentType::parse(content_type);
        let boundary = parsed.raw_parameter("boundary").unwrap_or_default();
        let fits = (1..=MOST_BOUNDARY).contains(&boundary.len())
            && boundary.iter().all(|byte| matches!(byte, b' '..=b'~'))
            && boundary.last() != Some(&b' ');
        if parsed.value != "multipart/form-data" || !fits {
            return Err(FormError::ContentType);
        }
        let delimiter = [b"\r\n--", boundary].concat();
        Ok(Form {
            state: State::Preamble,
            delimiter: Finder::new(&delimiter).into_owned(),
            // The first delimiter may stand at the very beginning.
            held: b"\r\n".to_vec(),
        })
    }

    /// Takes bytes in.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.state != State::Over {
            self.held.extend_from_slice(bytes);
        }
    }

    /// The next event; none until there are more bytes.
    pub(super) fn next(&mut self) -> Result<Option<Event>, FormError> {
        loop {
            match self.state {
                State::Preamble => match self.delimiter.find(&self.held) {
                    Some(at) => self.pass_delimiter(at),
                    None if self.held.len() > MOST_PADDING => return Err(FormError::Delimiter),
                    None => return Ok(None),
                },
                State::Delimiter => {
                    if !self.behind_delimiter()? {
                        return Ok(None);
                    }
                }
                State::Head => return self.head(),
                State::Content => return Ok(self.content()),
                State::Over => return Ok(None),
            }
        }
    }

    /// The body is over.
    pub(super) fn finish(&self) -> Result<(), FormError> {
        match self.state {
            State::Over => Ok(()),
            _ => Err(FormError::Cut),
        }
    }

    fn pass_delimiter(&mut self, at: usize) {
        let end = at + self.delimiter.needle().len();
        self.held.drain(..end.min(self.held.len()));
        self.state = State::Delimiter;
    }

    /// Passes what may stand behind a delimiter; false: it is not all there.
    fn behind_delimiter(&mut self) -> Result<bool, FormError> {
        if self.held.starts_with(b"--") {
            self.state = State::Over;
            self.held = Vec::new();
            return Ok(true);
        }
        let padding = |byte: &&u8| matches!(byte, b' ' | b'\t');
        let blank = self.held.iter().take_while(padding).count();
        if blank > MOST_PADDING {
            return Err(FormError::Delimiter);
        }
        match self.held.get(blank..) {
            Some([b'\r', b'\n', ..]) => {
                // A head without fields begins with its blank line: this CRLF stays for it.
                self.held.drain(..blank);
                self.state = State::Head;
                Ok(true)
            }
            Some([] | [b'\r']) => Ok(false),
            Some([b'-']) if blank == 0 => Ok(false),
            _ => Err(FormError::Delimiter),
        }
    }

    fn head(&mut self) -> Result<Option<Event>, FormError> {
        let Some(end) = memchr::memmem::find(&self.held, b"\r\n\r\n") else {
            return match self.held.len() > MOST_HEAD {
                true => Err(FormError::Head),
                false => Ok(None),
            };
        };
        if end > MOST_HEAD {
            return Err(FormError::Head);
        }
        // Without the CRLF of the delimiter's line.
        let fields: Vec<u8> = self.held.drain(..end + 4).skip(2).collect();
        let name = name(&fields)?;
        self.state = State::Content;
        Ok(Some(Event::Part(name)))
    }

    fn content(&mut self) -> Option<Event> {
        let ready = match self.delimiter.find(&self.held) {
            Some(0) => {
                self.pass_delimiter(0);
                return Some(Event::End);
            }
            Some(at) => at,
            // The end may be the beginning of a delimiter.
            None => self
                .held
                .len()
                .saturating_sub(self.delimiter.needle().len() - 1),
        };
        (ready > 0).then(|| Event::Data(self.held.drain(..ready).collect()))
    }
}

/// The name of the part with this head.
fn name(head: &[u8]) -> Result<String, FormError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let fields = match httparse::parse_headers(head, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        _ => return Err(FormError::Head),
    };
    let find = |name: &str| {
        let mut all = fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        (all.next(), all.next())
    };
    match find("content-transfer-encoding") {
        (None, _) => {}
        (Some(coding), None) if PLAIN.iter().any(|of| coding.value.eq_ignore_ascii_case(of)) => {}
        _ => return Err(FormError::Coding),
    }
    let (Some(disposition), None) = find("content-disposition") else {
        return Err(FormError::Name);
    };
    let parsed = ContentType::parse(disposition.value);
    match parsed.raw_parameter("name").map(std::str::from_utf8) {
        Some(Ok(name)) if parsed.value == "form-data" => Ok(name.to_owned()),
        _ => Err(FormError::Name),
    }
}

/// Codings that change nothing.
const PLAIN: [&[u8]; 3] = [b"7bit", b"8bit", b"binary"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &[u8] = b"multipart/form-data; boundary=\"b b\"";

    /// Names and contents of the parts, whatever pieces the body comes in.
    fn parts(pieces: &[&[u8]]) -> Result<Vec<(String, Vec<u8>)>, FormError> {
        let mut form = Form::new(TYPE)?;
        let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
        let mut open = false;
        for piece in pieces {
            form.push(piece);
            while let Some(event) = form.next()? {
                match event {
                    Event::Part(name) => {
                        assert!(!std::mem::replace(&mut open, true));
                        parts.push((name, Vec::new()));
                    }
                    Event::Data(data) => parts.last_mut().unwrap().1.extend(data),
                    Event::End => assert!(std::mem::take(&mut open)),
                }
            }
        }
        form.finish().map(|()| parts)
    }

    fn whole(body: &str) -> Result<Vec<(String, String)>, FormError> {
        let text = |(name, content)| (name, String::from_utf8(content).unwrap());
        parts(&[body.as_bytes()]).map(|parts| parts.into_iter().map(text).collect())
    }

    fn part(fields: &str, content: &str) -> String {
        format!("--b b\r\n{fields}\r\n\r\n{content}\r\n")
    }

    const A: &str = "Content-Disposition: form-data; name=\"a\"";

    #[test]
    fn parts_have_names_and_contents() {
        let second = "content-disposition:form-data;name=\"x\\\"y\"\r\nContent-Type: text/plain";
        let body = format!(
            "{}{}--b b--\r\nepilogue",
            part(A, "one\r\n--b\r\n--b bx"),
            part(second, "")
        );
        // What begins like a delimiter is one (RFC 2046 §5.1.1), and must not go on.
        assert_eq!(whole(&body), Err(FormError::Delimiter));
        let body = format!(
            "preamble\r\n{}{}--b b--",
            part(A, "one\r\n--b\r\n --b b\r\n-"),
            part(second, "").replace("--b b\r\n", "--b b \t\r\n"),
        );
        let expected = [("a", "one\r\n--b\r\n --b b\r\n-"), ("x\"y", "")];
        let expected = expected.map(|(name, content)| (name.to_owned(), content.to_owned()));
        assert_eq!(whole(&body), Ok(expected.to_vec()));
    }

    #[test]
    fn what_is_no_form_is_refused_with_its_reason() {
        let end = "--b b--\r\n";
        let long = "x".repeat(MOST_HEAD);
        for (body, error) in [
            (String::new(), FormError::Cut),
            ("x".repeat(MOST_PADDING + 1), FormError::Delimiter),
            (part(A, "one"), FormError::Cut),
            (format!("--b b\r\n{A}\r\n\r\nnever ends"), FormError::Cut),
            ("--b b oops\r\n".to_owned(), FormError::Delimiter),
            (
                format!("--b b{}", " ".repeat(MOST_PADDING + 1)),
                FormError::Delimiter,
            ),
            (part("Content-Type: text/plain", "") + end, FormError::Name),
            (
                part("Content-Disposition: form-data", "") + end,
                FormError::Name,
            ),
            (
                part("Content-Disposition: attachment; name=a", "") + end,
                FormError::Name,
            ),
            (part(&format!("{A}\r\n{A}"), "") + end, FormError::Name),
            (
                part(&format!("{A}\r\nContent-Transfer-Encoding: base64"), "") + end,
                FormError::Coding,
            ),
            (part(&format!("{A}\r\nno field"), "") + end, FormError::Head),
            (
                part(&format!("{A}\r\nX: {long}"), "") + end,
                FormError::Head,
            ),
            (format!("--b b\r\n{A}\r\nX: {long}{long}"), FormError::Head),
            (
                part(&format!("{A}{}", "\r\nX: y".repeat(MOST_FIELDS)), "") + end,
                FormError::Head,
            ),
        ] {
            assert_eq!(whole(&body), Err(error), "{:.60}", body);
        }
        assert!(
            whole(&(part(&format!("{A}\r\nContent-Transfer-Encoding: Binary"), "") + end)).is_ok()
        );
        for wrong in [
            "multipart/mixed; boundary=a",
            "multipart/form-data",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=\"a \"",
            "multipart/form-data; boundary=\"a\tb\"",
            "application/json",
            "",
        ] {
            let form = Form::new(wrong.as_bytes());
            assert_eq!(form.err(), Some(FormError::ContentType), "{wrong}");
        }
        let boundary = "b".repeat(MOST_BOUNDARY);
        let form = |boundary: &str| {
            Form::new(format!("multipart/form-data; boundary={boundary}").as_bytes())
        };
        assert!(form(&boundary).is_ok());
        assert!(form(&(boundary + "b")).is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_parts(
            contents in proptest::collection::vec("[-b \r\n]{0,40}", 1..4),
            cuts in proptest::collection::vec(0usize..400, 0..8),
        ) {
            let mut body = String::from("\r\n");
            for content in &contents {
                body += &part(A, content);
            }
            body += "--b b--\r\n";
            let bytes = body.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            pieces.push(&bytes[from..]);
            let split = parts(&pieces);
            prop_assert_eq!(&split, &parts(&[bytes]));
            if contents.iter().all(|content| !format!("\r\n{content}").contains("\r\n--b b")) {
                let expected: Vec<_> = contents
                    .iter()
                    .map(|content| ("a".to_owned(), content.clone().into_bytes()))
                    .collect();
                prop_assert_eq!(split, Ok(expected));
            }
        }
    }
}
