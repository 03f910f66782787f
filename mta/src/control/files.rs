//! Messages on their way out of the queue and into it: `queue export`, `unload`, `load`, and the copies
//! of `queue update --duplicate`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use angarium_control::proto::{
    self, QueueImportRequest, QueueImportResponse, QueueUnloadRequest, QueueUnloadResponse,
    queue_import_request as import,
};
use angarium_effects::random::uuid_text;
use angarium_mail::header::HeaderBlock;
use angarium_queue::index::State;
use angarium_queue::item::{Address, Item, ItemId};
use angarium_queue::scheduler::{Control, Then};
use angarium_queue::text::{Interner, Text};
use angarium_queue::time::Timestamp;
use angarium_spool::{Body, Spool};
use uuid::Uuid;

use super::filter::Filter;
use super::server::Desk;
use super::update::{Changes, chosen};
use super::why::the_one;
use crate::delivery::content::{self, Outgoing, Stored, spool_id};

/// The longest message that goes over the socket.
const LONGEST: usize = 1 << 30;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// `queue export`: the message as it will be sent.
pub(super) async fn export(desk: &Desk, id: ItemId) -> Result<Vec<u8>, String> {
    let queue = &desk.backend.queue;
    let found = queue.inspect(move |queue| {
        let id = the_one(queue, id)?;
        let item = queue.item(id).cloned();
        item.ok_or_else(|| format!("{id} is not in the queue"))
    });
    let item = found.await.map_err(text)??;
    let stored = Stored::of(&item).map_err(text)?;
    let now = i64::try_from(desk.clock.unix().as_secs()).unwrap_or(i64::MAX);
    let mut outgoing = Outgoing::open(&desk.backend.spool, &stored, now).map_err(text)?;
    let mut message = Vec::new();
    while let Some(piece) = outgoing.next(&desk.backend.pool).await.map_err(text)? {
        message.extend_from_slice(&piece);
        if message.len() > LONGEST {
            return Err(format!("The message is longer than {LONGEST} bytes"));
        }
    }
    Ok(message)
}

/// `queue unload`: each item becomes a file of its own and leaves the queue.
pub(super) async fn unload(
    desk: &Desk,
    filter: Arc<Filter>,
    wanted: &QueueUnloadRequest,
) -> Result<QueueUnloadResponse, String> {
    let queue = &desk.backend.queue;
    let mut response = QueueUnloadResponse::default();
    let list = chosen(queue, &filter, 0).await?;
    let mut waiting: HashMap<Uuid, usize> = HashMap::new();
    for (id, working) in &list {
        *waiting.entry(id.transaction).or_default() += usize::from(!working);
    }
    // Counted before anything leaves.
    let split = queue.inspect(move |queue| {
        let stays = |(transaction, chosen): &(Uuid, usize)| {
            queue.transaction(*transaction).count() > *chosen
        };
        let split = waiting.into_iter().filter(stays);
        split
            .map(|(transaction, _)| transaction)
            .collect::<HashSet<Uuid>>()
    });
    let split = split.await.map_err(text)?;
    for (id, working) in list {
        if working {
            response.working += 1;
            if wanted.freeze {
                // One that has gone meanwhile needs no freeze.
                let _ = queue.control(id, Control::Freeze).await;
            }
            continue;
        }
        if split.contains(&id.transaction) {
            response.partial += 1;
            if !wanted.partial {
                continue;
            }
        }
        if let Some(path) = unload_one(desk, id).await? {
            response.hqfpaths.push(path);
        }
    }
    Ok(response)
}

/// Takes one item out; none: it moved meanwhile and stays.
async fn unload_one(desk: &Desk, id: ItemId) -> Result<Option<String>, String> {
    let queue = &desk.backend.queue;
    let state = queue
        .inspect(move |queue| queue.state(id))
        .await
        .map_err(text)?;
    let frozen = state == Some(State::Update);
    if !frozen && queue.control(id, Control::Freeze).await.is_err() {
        return Ok(None);
    }
    let spool = desk.backend.spool.clone();
    let written = desk.backend.pool.call(move || spool.unload(spool_id(id)));
    let written = match written.await {
        Ok(Ok(path)) => Ok(path),
        Ok(Err(error)) => Err(text(error)),
        Err(panicked) => Err(text(panicked)),
    };
    match written {
        Ok(path) => match queue.control(id, Control::Unload).await {
            Ok(()) => Ok(Some(path.display().to_string())),
            Err(_) => Ok(None),
        },
        Err(error) => {
            if !frozen {
                let _ = queue.control(id, Control::Thaw).await;
            }
            Err(error)
        }
    }
}

/// `queue load`: a file of `unload`, or a message.
pub(super) async fn import(
    desk: &Desk,
    wanted: QueueImportRequest,
) -> Result<QueueImportResponse, String> {
    if !desk.backend.queue.has_room() {
        return Err("The queue is full: queues.maxmessages".to_owned());
    }
    let form = wanted.data.as_ref().and_then(|data| data.form.clone());
    match form {
        Some(import::data::Form::Hqf(bytes)) => load(desk, bytes, &wanted).await,
        Some(import::data::Form::Rfc822(bytes)) => submit(desk, bytes, &wanted).await,
        None => Err("No data".to_owned()),
    }
}

fn now(desk: &Desk) -> Timestamp {
    Timestamp::from_unix(desk.clock.unix())
}

fn fresh(desk: &Desk) -> Uuid {
    Uuid::from_bytes(desk.random.transaction_uuid())
}

fn flag(value: Option<&proto::BoolValue>) -> bool {
    value.is_some_and(|value| value.value)
}

async fn load(
    desk: &Desk,
    bytes: Vec<u8>,
    wanted: &QueueImportRequest,
) -> Result<QueueImportResponse, String> {
    let spool = desk.backend.spool.clone();
    let name = uuid_text(&desk.random.uuid());
    let loaded = desk
        .backend
        .pool
        .call(move || spool.load_bytes(&bytes, &name));
    let loaded = loaded.await.map_err(text)?.map_err(text)?;
    let mut item = Item::decode(&loaded.blob, &mut Interner::new()).map_err(text)?;
    let reset = wanted.reset.unwrap_or_default();
    if flag(reset.transactionid.as_ref()) {
        item.id.transaction = fresh(desk);
    }
    if flag(reset.ts.as_ref()) {
        let now = now(desk);
        item.received = now;
        item.aging_from = now;
        item.held_since = item.held_since.map(|_| now);
        item.reprieve = None;
    }
    if flag(reset.retrycount.as_ref()) {
        item.retrycount = 0;
        item.notified = 0;
        item.retryts = None;
    }
    if !wanted.transportid.is_empty() {
        item.transportid = wanted.transportid.as_str().into();
    }
    let id = item.id;
    let known = desk
        .backend
        .queue
        .inspect(move |queue| queue.item(id).is_some());
    if known.await.map_err(text)? {
        return Err(format!(
            "{id} is in the queue already; reset.transactionid gives it a new id"
        ));
    }
    let transactionid = id.transaction.to_string();
    commit(desk, vec![item], &loaded.bodies).await?;
    Ok(QueueImportResponse { transactionid })
}

async fn submit(
    desk: &Desk,
    bytes: Vec<u8>,
    wanted: &QueueImportRequest,
) -> Result<QueueImportResponse, String> {
    if wanted.recipients.is_empty() {
        return Err("recipients: a message needs at least one".to_owned());
    }
    if wanted.transportid.is_empty() {
        return Err("transportid: a message needs one".to_owned());
    }
    let address = |of: &proto::Address| Address::new(of.localpart.as_str(), of.domain.as_str());
    let bytes = with_crlf(bytes);
    let subject = HeaderBlock::read(&bytes[..]).ok();
    let subject = subject.and_then(|header| header.value(b"subject", 0, true));
    let transaction = fresh(desk);
    let sender = wanted.sender.as_ref().map(address).unwrap_or_default();
    let mut items = Vec::new();
    for (queue, recipient) in (1..).zip(&wanted.recipients) {
        if recipient.localpart.is_empty() || recipient.domain.is_empty() {
            return Err("recipients: an address has an empty part".to_owned());
        }
        let id = ItemId { transaction, queue };
        let transport = wanted.transportid.as_str().into();
        let mut item = Item::new(id, now(desk), sender.clone(), address(recipient), transport);
        item.size = bytes.len() as u64;
        item.subject = subject.as_deref().map(Text::from);
        items.push(item);
    }
    let body = desk.backend.spool.body(&bytes).map_err(text)?;
    commit(desk, items, &[body]).await?;
    let transactionid = transaction.to_string();
    Ok(QueueImportResponse { transactionid })
}

/// Lines end with CR LF on the wire.
fn with_crlf(bytes: Vec<u8>) -> Vec<u8> {
    let mut before = 0;
    let mut bare = |byte: &u8| {
        let bare = *byte == b'\n' && before != b'\r';
        before = *byte;
        bare
    };
    let count = bytes.iter().filter(|byte| bare(byte)).count();
    if count == 0 {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len().saturating_add(count));
    for byte in bytes {
        if byte == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(byte);
    }
    out
}

/// Makes items durable that share these bodies, and hands them to the queue.
async fn commit(desk: &Desk, mut items: Vec<Item>, bodies: &[Body]) -> Result<(), String> {
    let spool = &desk.backend.spool;
    let mut transaction = spool.transaction();
    let bodies: Vec<_> = bodies
        .iter()
        .map(|body| transaction.add_body(body))
        .collect();
    for item in &mut items {
        content::set_bodies(item, &bodies).map_err(text)?;
        let blob = item.encode().map_err(text)?;
        transaction.add_item(spool_id(item.id), &bodies, blob);
    }
    spool.commit(transaction).await.map_err(text)?;
    desk.backend.queue.committed(items);
    Ok(())
}

/// `queue update` with `duplicate`: changed copies of the items that fit. The originals stay as they
/// are, also those in transition.
pub(super) async fn duplicate(
    desk: &Desk,
    filter: Arc<Filter>,
    changes: &Changes,
    limit: u64,
) -> Result<proto::QueueUpdateResponse, String> {
    let queue = &desk.backend.queue;
    let mut response = proto::QueueUpdateResponse::default();
    for (id, _) in chosen(queue, &filter, limit).await? {
        let found = queue.inspect(move |queue| queue.item(id).cloned());
        let Some(item) = found.await.map_err(text)? else {
            continue;
        };
        let now = now(desk);
        let update = changes.of_item(0.0);
        let mut copy = update
            .made_to(&item, now)
            .ok_or("The copy would be too large")?;
        // Numbers of copies begin far behind those that a transaction gives.
        copy.id.queue = number(desk);
        let spool = desk.backend.spool.clone();
        let bodies = desk.backend.pool.call(move || bodies_of(&spool, &item));
        let bodies = bodies.await.map_err(text)??;
        let copied = copy.id;
        commit(desk, vec![copy], &bodies).await?;
        let after = match update.then {
            Some(Then::Bounce { status, diagnostic }) => {
                Some(Control::Bounce { status, diagnostic })
            }
            Some(Then::Delete) => Some(Control::Delete),
            Some(Then::Freeze) => Some(Control::Freeze),
            _ => None,
        };
        if let Some(after) = after {
            // The hand-over comes before in the queue's order of work only if it was taken: ask until
            // the copy is there.
            for _ in 0..100 {
                match queue.control(copied, after.clone()).await {
                    Err(_) => desk.clock.sleep(std::time::Duration::from_millis(5)).await,
                    Ok(()) => break,
                }
            }
        }
        response.affected += 1;
    }
    Ok(response)
}

/// A queue number that no transaction gives: the time in microseconds, and never the same twice.
fn number(desk: &Desk) -> u64 {
    let now = now(desk).as_micros();
    let next = desk.numbers.get().max(now).saturating_add(1);
    desk.numbers.set(next);
    next
}

/// The bodies of an item, read again: a copy does not depend on how long the original stays.
fn bodies_of(spool: &Spool, item: &Item) -> Result<Vec<Body>, String> {
    let stored = Stored::of(item).map_err(text)?;
    let mut bodies = Vec::new();
    for body in stored.bodies() {
        let mut reader = spool.read(body).map_err(text)?;
        let mut writer = spool.body_writer();
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = std::io::Read::read(&mut reader, &mut piece).map_err(text)?;
            match piece.get(..read) {
                Some(read) if !read.is_empty() => writer.write(read).map_err(text)?,
                _ => break,
            }
        }
        bodies.push(writer.finish().map_err(text)?);
    }
    Ok(bodies)
}
