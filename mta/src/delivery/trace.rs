//! Deliveries as they are talked about: a live view of what is said to peers and by them.
//!
//! Nothing is followed as long as nobody asks, and that costs a look at one number. Who asks gets records
//! through a bounded channel; a reader that is too slow loses some and is told how many, and never holds a
//! delivery up. Secrets of AUTH are left out. The lines of a message are counted, not shown, but in a hex dump.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use angarium_queue::destination::Candidate;
use angarium_queue::gate::{Field, Fields};
use angarium_queue::matcher::{FieldValue, Matcher};
use angarium_queue::text::Text;
use tokio::sync::mpsc;

use super::Switchboard;
use crate::server::dialogue::Lines;

/// Records that wait for a reader.
const RECORDS: usize = 1024;
/// Bytes in a line of a hex dump.
const WIDTH: usize = 16;

/// What is followed, and how.
#[derive(Debug, Default)]
pub struct Follow {
    /// All of these must fit; none: every delivery.
    pub when: Vec<(Field, Matcher)>,
    /// Only on connections that are opened for it, so that the beginning is seen.
    pub connect: bool,
    /// Bytes, not lines.
    pub hexdump: bool,
    /// One command at a time, on a connection that is opened for it.
    pub nopipelining: bool,
}

impl Follow {
    fn fits(&self, fields: &Fields, local: Option<IpAddr>) -> bool {
        self.when.iter().all(|(field, matcher)| {
            let text = |text: &Option<Text>| {
                let text = text.as_ref();
                text.is_some_and(|text| matcher.matches(FieldValue::Text(text)))
            };
            let address = |address: Option<IpAddr>| {
                address.is_some_and(|address| matcher.matches(FieldValue::Address(address)))
            };
            match field {
                Field::TenantId => text(&fields.tenantid),
                Field::JobId => text(&fields.jobid),
                Field::TransportId => matcher.matches(FieldValue::Text(&fields.transportid)),
                Field::LocalIp => address(local),
                Field::Grouping => text(&fields.grouping),
                Field::RemoteIp => address(fields.remoteip),
                Field::RemoteMx => text(&fields.remotemx),
                Field::RecipientDomain => text(&fields.recipientdomain),
            }
        })
    }
}

/// Something that was said or happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The connection.
    pub connection: Text,
    /// `> ` before what we say, `< ` before what the peer says, `* ` before what happens.
    pub text: String,
}

/// Everybody who follows deliveries.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    count: AtomicUsize,
    list: Mutex<Vec<Arc<Trace>>>,
}

/// One who follows.
#[derive(Debug)]
pub(crate) struct Trace {
    pub follow: Follow,
    sender: mpsc::Sender<Record>,
    lost: AtomicU64,
}

/// The records of one who follows; it ends when this is dropped.
#[derive(Debug)]
pub struct Following {
    traces: Arc<Traces>,
    trace: Arc<Trace>,
    records: mpsc::Receiver<Record>,
}

impl Traces {
    /// Follows deliveries from now on.
    pub(crate) fn begin(self: &Arc<Self>, follow: Follow) -> Following {
        let (sender, records) = mpsc::channel(RECORDS);
        let trace = Arc::new(Trace {
            follow,
            sender,
            lost: AtomicU64::new(0),
        });
        let mut list = self.list();
        list.push(Arc::clone(&trace));
        self.count.store(list.len(), Ordering::Relaxed);
        drop(list);
        Following {
            traces: Arc::clone(self),
            trace,
            records,
        }
    }

    /// The first who follows a delivery with these values.
    pub(crate) fn of(
        &self,
        fields: impl FnOnce() -> Fields,
        local: Option<IpAddr>,
    ) -> Option<Arc<Trace>> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let fields = fields();
        let list = self.list();
        let found = list.iter().find(|trace| trace.follow.fits(&fields, local));
        found.map(Arc::clone)
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Trace>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trace {
    fn tell(&self, connection: &Text, text: String) {
        let connection = connection.clone();
        if self.sender.try_send(Record { connection, text }).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Following {
    /// The next record. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Option<Record> {
        let lost = self.trace.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            return Some(Record {
                connection: Text::default(),
                text: format!("* {lost} records were lost: the reader is too slow"),
            });
        }
        self.records.recv().await
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut list = self.traces.list();
        list.retain(|trace| !Arc::ptr_eq(trace, &self.trace));
        self.traces.count.store(list.len(), Ordering::Relaxed);
    }
}

impl Switchboard {
    /// The ear of who follows a connection that a script makes.
    pub(super) fn tap(
        &self,
        id: &Text,
        candidate: &Candidate,
        local: Option<IpAddr>,
    ) -> Option<Tap> {
        let fields = || Fields {
            remotemx: Some(candidate.mx.clone()),
            remoteip: Some(candidate.ip),
            ..Fields::default()
        };
        let trace = self.traces.of(fields, local)?;
        Some(Tap::new(trace, id.clone()))
    }
}

/// Listens to one connection.
pub(super) struct Tap {
    trace: Arc<Trace>,
    connection: Text,
    ours: Lines,
    theirs: Lines,
}

/// What kind of bytes we say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Commands.
    Commands,
    /// Secrets.
    Secret,
    /// The message.
    Content,
}

impl Tap {
    pub(super) fn new(trace: Arc<Trace>, connection: Text) -> Tap {
        Tap {
            trace,
            connection,
            ours: Lines::default(),
            theirs: Lines::default(),
        }
    }

    /// Something happened.
    pub(super) fn event(&self, text: &str) {
        self.trace.tell(&self.connection, format!("* {text}"));
    }

    /// We said this.
    pub(super) fn said(&mut self, bytes: &[u8], what: Said) {
        let Tap {
            trace, connection, ..
        } = self;
        match what {
            Said::Secret => trace.tell(connection, "> ***".to_owned()),
            Said::Content if !trace.follow.hexdump => {
                let text = format!("> ({} bytes of the message)", bytes.len());
                trace.tell(connection, text);
            }
            _ if trace.follow.hexdump => {
                dump(bytes, |line| trace.tell(connection, format!("> {line}")));
            }
            _ => self
                .ours
                .feed(bytes, |line| trace.tell(connection, format!("> {line}"))),
        }
    }

    /// The peer said this.
    pub(super) fn heard(&mut self, bytes: &[u8]) {
        let Tap {
            trace, connection, ..
        } = self;
        if trace.follow.hexdump {
            return dump(bytes, |line| trace.tell(connection, format!("< {line}")));
        }
        self.theirs
            .feed(bytes, |line| trace.tell(connection, format!("< {line}")));
    }
}

/// Sixteen bytes a line, as numbers and as characters.
fn dump(bytes: &[u8], mut line: impl FnMut(String)) {
    for (number, part) in bytes.chunks(WIDTH).enumerate() {
        let mut text = format!("{:08x} ", number * WIDTH);
        for byte in part {
            // Writing to a string cannot fail.
            let _ = write!(text, " {byte:02x}");
        }
        for _ in part.len()..WIDTH {
            text.push_str("   ");
        }
        text.push_str("  ");
        let shown = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        };
        text.extend(part.iter().map(shown));
        line(text);
    }
}

#[cfg(test)]
mod tests {
    use angarium_queue::matcher::{Lists, Pattern};
    use futures_util::FutureExt as _;

    use super::*;

    fn to(mx: &str) -> impl FnOnce() -> Fields {
        let remotemx = Some(mx.into());
        move || Fields {
            remotemx,
            ..Fields::default()
        }
    }

    fn follow(text: &str) -> Follow {
        let field = Field::RemoteMx;
        let patterns = [Pattern::parse(field, text).unwrap()];
        Follow {
            when: vec![(
                field,
                Matcher::new(field, &patterns, &Lists::default()).unwrap(),
            )],
            ..Follow::default()
        }
    }

    fn all(following: &mut Following) -> Vec<String> {
        std::iter::from_fn(|| following.next().now_or_never().flatten())
            .map(|record| record.text)
            .collect()
    }

    #[test]
    fn deliveries_are_followed_while_somebody_listens() {
        let traces = Arc::<Traces>::default();
        assert!(traces.of(to("mx.big.test"), None).is_none());
        let mut following = traces.begin(follow("*.big.test"));
        assert!(traces.of(to("other.test"), None).is_none());
        let trace = traces.of(to("MX.big.test"), None).expect("it fits");
        let mut tap = Tap::new(trace, "c".into());
        tap.event("connected");
        tap.heard(b"220 hel");
        tap.heard(b"lo\r\n");
        tap.said(b"EHLO me\r\n", Said::Commands);
        tap.said(b"AUTH PLAIN c2VjcmV0\r\n", Said::Commands);
        tap.said(b"c2VjcmV0\r\n", Said::Secret);
        tap.said(b"Subject: x\r\n", Said::Content);
        let want = [
            "* connected",
            "< 220 hello",
            "> EHLO me",
            "> AUTH PLAIN ***",
            "> ***",
            "> (12 bytes of the message)",
        ];
        assert_eq!(all(&mut following), want);
        drop(following);
        assert!(traces.of(to("mx.big.test"), None).is_none());
    }

    #[test]
    fn a_slow_reader_is_told_what_it_lost() {
        let traces = Arc::<Traces>::default();
        let mut following = traces.begin(Follow::default());
        let trace = traces.of(Fields::default, None).expect("it fits");
        let tap = Tap::new(trace, "c".into());
        for _ in 0..RECORDS + 3 {
            tap.event("x");
        }
        let seen = all(&mut following);
        assert_eq!(seen.len(), RECORDS + 1);
        assert_eq!(seen[0], "* 3 records were lost: the reader is too slow");
    }

    #[test]
    fn a_dump_shows_bytes_and_characters() {
        let mut lines = Vec::new();
        dump(b"220 mx.test ESMTP\r\n", |line| lines.push(line));
        assert_eq!(
            lines,
            [
                "00000000  32 32 30 20 6d 78 2e 74 65 73 74 20 45 53 4d 54  220 mx.test ESMT",
                "00000010  50 0d 0a                                         P..",
            ]
        );
    }
}
