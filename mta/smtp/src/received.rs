//! The Received field that is added to every message (RFC 5321 §4.4, RFC 3848).
//!
//! Every value in it comes from a peer, from DNS or from a script, so each is reduced to bytes
//! that can end neither the field nor a comment.

use std::net::IpAddr;

use crate::session::Session;

/// Builds the field with its final CRLF.
///
/// `hostname` and `product` are ours; `unix_time` is when the message arrived, in seconds.
#[must_use]
pub fn field(session: &Session, hostname: &str, product: &str, unix_time: i64) -> String {
    let with = session.with_keyword();
    field_with(session, hostname, product, unix_time, with)
}

/// The same for a message that came in by another protocol, `with`.
#[must_use]
pub fn field_with(
    session: &Session,
    hostname: &str,
    product: &str,
    unix_time: i64,
    with: &str,
) -> String {
    let utf8 = session.utf8();
    let helo = session
        .helo
        .as_ref()
        .map_or("unknown", |helo| helo.host.as_str());
    let ptr = session
        .connection
        .remote_ptr
        .as_deref()
        .unwrap_or("unknown");
    format!(
        "Received: from {helo} ({ptr} [{ip}])\r\n\tby {hostname} ({product}) with {with}\r\n\tid {id};\r\n\t{date}\r\n",
        helo = word(helo, utf8),
        ptr = word(ptr, utf8),
        ip = literal(session.connection.remote_ip),
        hostname = word(hostname, utf8),
        product = comment(product, utf8),
        with = word(with, false),
        id = word(&session.transaction.id, utf8),
        date = date(unix_time),
    )
}

/// The address as in an address literal: IPv6 has its tag.
fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("IPv6:{address}"),
    }
}

/// A token: letters, digits and what host names, literals and ids hold; the rest becomes `?`.
fn word(text: &str, utf8: bool) -> String {
    let kept: String = text
        .chars()
        .take(255)
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c,
            '.' | '-' | '_' | ':' | '[' | ']' | '/' | '=' | '+' | '@' => c,
            c if utf8 && !c.is_ascii() && !c.is_control() && !c.is_whitespace() => c,
            _ => '?',
        })
        .collect();
    if kept.is_empty() {
        "unknown".to_owned()
    } else {
        kept
    }
}

/// Text inside a comment: no control bytes, brackets or quoting.
fn comment(text: &str, utf8: bool) -> String {
    text.chars()
        .take(255)
        .map(|c| match c {
            '(' | ')' | '\\' => '?',
            ' '..='~' => c,
            c if utf8 && !c.is_ascii() && !c.is_control() => c,
            _ => '?',
        })
        .collect()
}

/// An RFC 5322 date in UTC, e.g. `Thu, 01 Jan 1970 00:00:00 +0000`.
#[must_use]
pub fn date(unix_time: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, seconds) = (unix_time.div_euclid(86_400), unix_time.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let name = |names: &[&'static str], at: i64| {
        usize::try_from(at)
            .ok()
            .and_then(|at| names.get(at).copied())
            .unwrap_or("???")
    };
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} +0000",
        name(&DAYS, days.rem_euclid(7)),
        name(&MONTHS, month - 1),
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
    )
}

/// Days since 1970-01-01 to year, month and day of the Gregorian calendar: counts in eras of 400
/// years that begin on a 1 March, so that the leap day is the last day of a year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era.saturating_mul(400) + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::session;
    use crate::session::{Auth, Helo, HeloVerb, TlsInfo};

    #[test]
    fn the_field_is_folded_and_names_the_protocol() {
        let mut session = session();
        session.helo = Some(Helo {
            verb: HeloVerb::Ehlo,
            host: "client.example".to_owned(),
        });
        insta::assert_snapshot!(field(&session, "mx.example", "Angarium", 1_700_000_000), @r"
        Received: from client.example (unknown [192.0.2.1])
        	by mx.example (Angarium) with ESMTP
        	id T1;
        	Tue, 14 Nov 2023 22:13:20 +0000
        ");
        session.tls = Some(TlsInfo::default());
        assert_eq!(session.with_keyword(), "ESMTPS");
        session.auth = Some(Auth {
            mechanism: "PLAIN".to_owned(),
            username: None,
        });
        assert_eq!(session.with_keyword(), "ESMTPSA");
        session.helo = None;
        assert_eq!(session.with_keyword(), "SMTP");
    }

    #[test]
    fn no_value_can_break_the_field() {
        let mut session = session();
        session.connection.remote_ptr = Some("a)\r\nX: y (".to_owned());
        session.connection.remote_ip = "2001:db8::1".parse().expect("an address");
        session.helo = Some(Helo {
            verb: HeloVerb::Helo,
            host: "h\u{e5}\r\n\r\nbody".to_owned(),
        });
        let text = field(&session, "mx.example", "Angarium (x)\r\n", 0);
        assert!(
            text.starts_with("Received: from h?????body (a???X:?y?? ["),
            "{text}"
        );
        assert!(text.contains("[IPv6:2001:db8::1]"), "{text}");
        assert_eq!(text.matches("\r\n").count(), 4, "{text}");
        assert_eq!(text.matches('(').count(), 2, "{text}");
        assert!(text.is_ascii(), "{text}");
    }

    #[test]
    fn dates_are_right_at_the_edges() {
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(date(951_782_399), "Mon, 28 Feb 2000 23:59:59 +0000");
        assert_eq!(date(951_782_400), "Tue, 29 Feb 2000 00:00:00 +0000");
        assert_eq!(date(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 +0000");
        assert_eq!(date(-1), "Wed, 31 Dec 1969 23:59:59 +0000");
    }
}
