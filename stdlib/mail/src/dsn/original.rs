//! The part that returns the original: its header or all of it (RFC 6522 §2, RFC 6533 §6).

use super::{Action, Report, Section};

pub(super) fn part<'a>(report: &Report<'a>) -> Option<Section<'a>> {
    let original = &report.original;
    let global = original.smtputf8 || report.is_global();
    // RET is about failures: other reports return the header only (RFC 3461 §4.3).
    let by_ret = original.ret_full && report.action == Action::Failed;
    let full = report.options.original_message.unwrap_or(by_ret);
    if let Some(message) = original.message.filter(|_| full) {
        return Some(Section {
            content_type: Some(if global && needs_utf8(original.header) {
                "message/global"
            } else {
                "message/rfc822"
            }),
            // These types are returned as they are; other encodings are not allowed
            // (RFC 2046 §5.2.1).
            encoding: Some(if message.is_ascii() { "7bit" } else { "8bit" }),
            body: message.into(),
        });
    }
    if report.options.original_headers == Some(false) {
        return None;
    }
    let header = original.header;
    let long = header.split(|&b| b == b'\n').any(|line| line.len() > 998);
    let (content_type, encoding) = if global && needs_utf8(header) {
        ("message/global-headers", Some("8bit"))
    } else if header.is_ascii() && !long {
        ("text/rfc822-headers", Some("7bit"))
    } else {
        ("text/rfc822-headers", None)
    };
    Some(Section {
        content_type: Some(content_type),
        encoding,
        body: header.into(),
    })
}

fn needs_utf8(header: &[u8]) -> bool {
    !header.is_ascii() && std::str::from_utf8(header).is_ok()
}
