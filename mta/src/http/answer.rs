//! What is answered to a request: a status, some fields and a body that is there as a whole.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use angarium_smtp::received;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, DATE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// What the body is.
    kind: &'static str,
    body: Vec<u8>,
    fields: Vec<(HeaderName, &'static str)>,
    last: bool,
}

impl Answer {
    /// A body of some type.
    #[must_use]
    pub fn new(status: StatusCode, kind: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status,
            kind,
            body: body.into(),
            fields: Vec::new(),
            last: false,
        }
    }

    /// A line for people.
    #[must_use]
    pub fn text(status: StatusCode, text: &str) -> Answer {
        Answer::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    /// A value; `pretty` gives each of its entries a line.
    #[must_use]
    pub fn json(status: StatusCode, value: &impl Serialize, pretty: bool) -> Answer {
        let text = match pretty {
            true => serde_json::to_vec_pretty(value),
            false => serde_json::to_vec(value),
        };
        // Only what is no JSON could fail: maps whose keys are no strings.
        let mut body = text.unwrap_or_default();
        body.push(b'\n');
        Answer::new(status, "application/json", body)
    }

    /// What is wrong with a request: `{"message": …}`.
    #[must_use]
    pub fn refused(status: StatusCode, message: &str) -> Answer {
        Answer::json(status, &json!({ "message": message }), false)
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &'static str) -> Answer {
        self.fields.push((name, value));
        self
    }

    /// The same as the last answer of its connection.
    #[must_use]
    pub fn last(mut self) -> Answer {
        self.last = true;
        self
    }

    /// The text of the body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// As hyper sends it at this time; `last` says that the connection ends with it.
    pub(super) fn into_response(self, unix: Duration, last: bool) -> Response<Whole> {
        let mut response = Response::new(Whole(Some(self.body.into())));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        // Neither a cache nor a guess about its type may make more of an answer than it is.
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(date) = HeaderValue::try_from(date(unix)) {
            fields.insert(DATE, date);
        }
        for (name, value) in self.fields {
            fields.insert(name, HeaderValue::from_static(value));
        }
        if last || self.last {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// An HTTP date (RFC 9110 §5.6.7).
fn date(unix: Duration) -> String {
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    received::date(seconds).replace("+0000", "GMT")
}

/// A body that is there as a whole.
pub(super) struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_type_and_a_date_and_is_not_kept() {
        let answer = Answer::refused(StatusCode::UNAUTHORIZED, "no \"key\"\r\n");
        assert_eq!(answer.body(), b"{\"message\":\"no \\\"key\\\"\\r\\n\"}\n");
        let response = answer.into_response(Duration::from_secs(784_111_777), true);
        let fields = response.headers();
        assert_eq!(fields["date"], "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(fields["content-type"], "application/json");
        assert_eq!(fields["cache-control"], "no-store");
        assert_eq!(fields["connection"], "close");
        assert_eq!(response.body().size_hint().exact(), Some(29));
    }
}
