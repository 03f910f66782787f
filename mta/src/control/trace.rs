//! `trace smtp`: deliveries as they are talked about, one record for each step.

use angarium_control::Message as _;
use angarium_control::proto::{HslLogResponse, TraceSmtpRequest};
use angarium_queue::gate::Field;
use angarium_queue::matcher::{Lists, Matcher};

use super::convert::when;
use super::server::Desk;
use crate::delivery::trace::{Follow, Following, Record};

/// Begins a trace.
pub(super) fn begin(desk: &Desk, body: &[u8]) -> Result<Following, String> {
    let wanted = TraceSmtpRequest::decode(body).map_err(|_| "Bad request".to_owned())?;
    let given = when(&[
        (Field::TransportId, wanted.transportid.as_ref()),
        (Field::LocalIp, wanted.localip.as_ref()),
        (Field::RemoteIp, wanted.remoteip.as_ref()),
        (Field::RemoteMx, wanted.remotemx.as_ref()),
        (Field::RecipientDomain, wanted.recipientdomain.as_ref()),
        (Field::JobId, wanted.jobid.as_ref()),
        (Field::Grouping, wanted.grouping.as_ref()),
        (Field::TenantId, wanted.tenantid.as_ref()),
    ])?;
    let mut follow = Follow {
        when: Vec::with_capacity(given.len()),
        connect: wanted.connect,
        hexdump: wanted.hexdump,
        nopipelining: wanted.nopipelining,
    };
    for (field, patterns) in given {
        let matcher = Matcher::new(field, &patterns, &Lists::default());
        let matcher = matcher.map_err(|error| format!("{field}: {error}"))?;
        follow.when.push((field, matcher));
    }
    let queue = &desk.backend.queue;
    queue
        .follow(follow)
        .ok_or_else(|| "The queue has stopped".to_owned())
}

/// A record as a message.
pub(super) fn message(record: &Record) -> Vec<u8> {
    let message = HslLogResponse {
        location: None,
        text: record.text.clone().into_bytes(),
        id: record.connection.to_string(),
    };
    message.encode_to_vec()
}
