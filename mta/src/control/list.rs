//! `queue list`: items that fit, sorted, a page of them.

use std::cmp::Ordering;
use std::sync::Arc;

use angarium_control::encode::Writer;
use angarium_control::proto::{Order, QueueListRequest, queue_list_request as request};
use angarium_queue::index::State;
use angarium_queue::item::{Address, ItemId};
use angarium_queue::scheduler::View;
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;

use super::filter::{Around, Filter, tags};
use super::scan::{scan, scan_in_order};
use crate::delivery::{Handle, Stopped};

/// Items on a page if the request does not say.
const PAGE: u64 = 100;
/// Items that are written in one step on the queue's thread.
const STEP: usize = 1024;
/// Ids of so many items are gathered and sorted at most; for pages further behind the list is made in the
/// order of ids.
const GATHERED: u64 = 100_000;

/// What a list is sorted by.
#[derive(Clone, Copy)]
enum By {
    Received,
    Sender(Part),
    Recipient(Part),
    Duration,
    Retry,
    Size,
    RetryCount,
}

#[derive(Clone, Copy)]
enum Part {
    Localpart,
    Domain,
}

/// A value that items are sorted by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(u64),
    Text(Text),
}

type Row = (Box<[Key]>, ItemId);

/// The first rows of a list, by keys and then by id, gathered without keeping all.
struct Top {
    rows: Vec<Row>,
    most: usize,
    total: u64,
    by: Arc<[(By, bool)]>,
}

impl Top {
    fn compare(by: &[(By, bool)], a: &Row, b: &Row) -> Ordering {
        for (place, (_, descending)) in by.iter().enumerate() {
            let order = a.0.get(place).cmp(&b.0.get(place));
            let order = if *descending { order.reverse() } else { order };
            if order != Ordering::Equal {
                return order;
            }
        }
        a.1.cmp(&b.1)
    }

    fn push(&mut self, view: &View<'_>, now: Timestamp) {
        self.total += 1;
        let keys = self.by.iter().map(|(by, _)| by.key(view, now)).collect();
        self.rows.push((keys, view.item.id));
        if self.rows.len() >= self.most.saturating_mul(2).saturating_add(4096) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.rows.len() > self.most {
            let by = Arc::clone(&self.by);
            self.rows
                .select_nth_unstable_by(self.most, |a, b| Top::compare(&by, a, b));
            self.rows.truncate(self.most);
        }
    }

    fn sorted(mut self) -> Vec<ItemId> {
        self.cut();
        let by = Arc::clone(&self.by);
        self.rows.sort_unstable_by(|a, b| Top::compare(&by, a, b));
        self.rows.into_iter().map(|(_, id)| id).collect()
    }
}

impl By {
    fn key(self, view: &View<'_>, now: Timestamp) -> Key {
        let item = view.item;
        let part = |address: &Address, part| match part {
            Part::Localpart => Key::Text(address.localpart.clone()),
            Part::Domain => Key::Text(address.domain.to_ascii_lowercase()),
        };
        match self {
            By::Received => Key::Number(item.received.as_micros()),
            By::Sender(of) => part(&item.sender, of),
            By::Recipient(of) => part(&item.recipient, of),
            By::Duration => Key::Number(match view.state {
                State::Sending | State::Unknown => micros(now, view.since),
                _ => 0,
            }),
            By::Retry => Key::Number(item.retryts.map_or(0, Timestamp::as_micros)),
            By::Size => Key::Number(item.size),
            By::RetryCount => Key::Number(u64::from(item.retrycount)),
        }
    }
}

fn micros(now: Timestamp, since: Timestamp) -> u64 {
    u64::try_from(now.since(since).as_micros()).unwrap_or(u64::MAX)
}

fn sorting(wanted: &request::Sorting) -> Option<(By, bool)> {
    use request::address_sorting::Part as Of;
    use request::sorting::Field;
    let part = |part: &request::AddressSorting| match part.part.as_ref()? {
        Of::Localpart(order) => Some((Part::Localpart, *order)),
        Of::Domain(order) => Some((Part::Domain, *order)),
    };
    let (by, order) = match wanted.field.as_ref()? {
        Field::Ts(order) => (By::Received, *order),
        Field::Sender(of) => {
            let (part, order) = part(of)?;
            (By::Sender(part), order)
        }
        Field::Recipient(of) => {
            let (part, order) = part(of)?;
            (By::Recipient(part), order)
        }
        Field::Working(of) => (By::Duration, of.duration() as i32),
        Field::Retryts(order) => (By::Retry, *order),
        Field::Size(order) => (By::Size, *order),
        Field::Retrycount(order) => (By::RetryCount, *order),
    };
    Some((by, order == Order::Desc as i32))
}

/// Carries out a request; gives the bytes of the response.
pub(super) async fn list(
    queue: &Handle,
    filter: Arc<Filter>,
    wanted: &QueueListRequest,
) -> Result<Vec<u8>, Stopped> {
    let paging = wanted.paging.unwrap_or_default();
    let limit = if paging.limit == 0 {
        PAGE
    } else {
        paging.limit
    };
    let by: Arc<[(By, bool)]> = wanted.sortings.iter().filter_map(sorting).collect();
    let (offset, end) = (paging.offset, paging.offset.saturating_add(limit));
    let (mut response, total) = if by.is_empty() && filter.is_everything() {
        let (response, seen) = in_order(queue, &filter, offset, limit, true).await?;
        let total = queue.inspect(|queue| queue.len() as u64).await?;
        (response, total.max(seen))
    } else if by.is_empty() && end > GATHERED {
        in_order(queue, &filter, offset, limit, false).await?
    } else {
        by_keys(queue, &filter, by, offset, limit).await?
    };
    response.message(2, |paging| paging.number(1, total));
    Ok(response.into_bytes())
}

/// In the order of ids each item is written as it is met. Gives how many fit as well, or, if the list is to
/// `stop` at the end of the page, those up to there.
async fn in_order(
    queue: &Handle,
    filter: &Arc<Filter>,
    offset: u64,
    limit: u64,
    stop: bool,
) -> Result<(Writer, u64), Stopped> {
    let end = offset.saturating_add(limit);
    let see = move |(response, total): &mut (Writer, u64), view: &View<'_>, around: Around<'_>| {
        if (offset..end).contains(total) {
            write(response, view, around);
        }
        *total += 1;
        !stop || *total < end
    };
    scan_in_order(queue, filter, (Writer::default(), 0), see).await
}

async fn by_keys(
    queue: &Handle,
    filter: &Arc<Filter>,
    by: Arc<[(By, bool)]>,
    offset: u64,
    limit: u64,
) -> Result<(Writer, u64), Stopped> {
    let most = usize::try_from(offset.saturating_add(limit)).unwrap_or(usize::MAX);
    let top = Top {
        rows: Vec::new(),
        most,
        total: 0,
        by,
    };
    let top = scan(queue, filter, top, |top: &mut Top, view, around| {
        top.push(view, around.now);
    })
    .await?;
    let total = top.total;
    let ids = top.sorted();
    let page = ids.get(usize::try_from(offset).unwrap_or(usize::MAX)..);
    let mut response = Writer::default();
    for ids in page.unwrap_or_default().chunks(STEP) {
        let ids = ids.to_vec();
        let mut step = response;
        response = queue
            .inspect_at(move |queue, now| {
                let policies = queue.gate().policies();
                let around = Around { policies, now };
                // What has gone meanwhile is left out.
                for view in ids.into_iter().filter_map(|id| queue.view(id)) {
                    write(&mut step, &view, around);
                }
                step
            })
            .await?;
    }
    Ok((response, total))
}

/// Appends the item as field 1 of a `QueueListResponse`.
pub(super) fn write(response: &mut Writer, view: &View<'_>, around: Around<'_>) {
    response.message(1, |out| write_item(out, view, around));
}

fn write_item(out: &mut Writer, view: &View<'_>, around: Around<'_>) {
    let item = view.item;
    out.message(1, |id| {
        let mut buffer = uuid::Uuid::encode_buffer();
        id.text(
            1,
            item.id.transaction.hyphenated().encode_lower(&mut buffer),
        );
        id.number(2, item.id.queue);
    });
    match view.state {
        State::Active => out.message(2, |state| state.present(1, 0)),
        State::Defer => out.message(2, |state| state.present(1, 1)),
        State::Hold => out.message(3, |state| state.present(1, 0)),
        State::Update => out.message(3, |state| state.present(1, 1)),
        State::Unknown | State::Sending => out.message(4, |state| {
            state.present(1, u64::from(view.state == State::Sending));
            state.boolean(2, view.freezing);
            state.double(3, around.now.since(view.since).as_secs_f64());
        }),
    }
    let optional = |out: &mut Writer, field, text: &Option<Text>| {
        if let Some(text) = text {
            out.text(field, &text.to_str());
        }
    };
    out.double(6, item.received.as_secs_f64());
    out.boolean(7, item.hold);
    optional(out, 8, &item.jobid);
    optional(out, 9, &item.stageid);
    for (name, value) in item.metadata.iter() {
        out.message(10, |entry| {
            entry.bytes(1, name.to_str().as_bytes());
            entry.bytes(2, value.to_str().as_bytes());
        });
    }
    out.text(11, &item.serverid.to_str());
    out.text(12, &item.transportid.to_str());
    for (field, address) in [(13, &item.sender), (14, &item.recipient)] {
        out.message(field, |out| {
            out.text(1, &address.localpart.to_str());
            out.text(2, &address.domain.to_str());
        });
    }
    out.number(15, u64::from(item.retrycount));
    if let (State::Defer, Some(at)) = (view.state, item.retryts) {
        out.double(16, at.since(around.now).as_secs_f64());
    }
    optional(out, 17, &item.retryreason);
    out.number(18, item.size);
    if let Some(address) = item.senderip {
        out.text(19, &address.to_string());
    }
    optional(out, 20, &item.senderhelo);
    optional(out, 21, &item.saslusername);
    optional(out, 22, &item.subject);
    for address in view.localips() {
        out.text(23, &address.to_string());
    }
    if let Some(candidate) = view.candidate() {
        out.text(24, &candidate.ip.to_string());
        out.text(25, &candidate.mx.to_str());
    }
    if matches!(view.state, State::Active | State::Sending) {
        for tag in tags(view, around) {
            out.text(26, &tag.to_str());
        }
    }
    for quota in &item.quotas {
        out.text(27, &quota.to_str());
    }
    let dsn = &item.dsn;
    if *dsn != angarium_queue::dsn::DsnRequest::default() {
        out.message(28, |out| super::convert::write_dsn(out, dsn));
    }
    out.number(29, item.priority.number());
    out.boolean(30, view.localips_ordered());
    if let Some(grouping) = view.grouping() {
        out.text(31, &grouping.to_str());
    }
    optional(out, 32, &item.tenantid);
}
