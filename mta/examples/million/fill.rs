//! Fills a spool as a server does: a body and an item for each message, in its own forms.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::Clock as _;
use angarium_effects::disk::SystemDisk;
use angarium_effects::system::SystemClock;
use angarium_queue::item::{Address, ContentRef, Item, ItemId};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use angarium_spool::{Config, Now, Spool};

use crate::State;

/// Domains of recipients.
pub const DOMAINS: u64 = 50_000;
/// Jobs, which have sub-queues of their own.
pub const JOBS: u64 = 1000;
/// Messages in a transaction of the spool; that many commits share a write and a sync.
const BATCH: u64 = 500;

/// Writes `count` messages; gives the bytes that the log takes.
pub fn fill(folder: &Path, count: u64, state: State) -> u64 {
    let path = folder.join("spool/queue");
    let config = Config::new(&path, folder.join("spool/tmp"));
    let now: Now = Arc::new(|| SystemClock.monotonic());
    let (spool, recovered) = Spool::open(Arc::new(SystemDisk), config, now).unwrap();
    assert_eq!(recovered.count(), 0, "the spool is new");
    let unix = u64::try_from(SystemClock.unix().as_micros()).unwrap();
    let now = Timestamp::from_micros(unix);
    let mut commit = None;
    for first in (0..count).step_by(usize::try_from(BATCH).unwrap()) {
        let mut transaction = spool.transaction();
        for number in first..(first + BATCH).min(count) {
            let body = spool.body(body(number).as_bytes()).unwrap();
            let body = transaction.add_body(&body);
            let mut item = item(number, now, state);
            item.content = ContentRef(body.to_bytes().into());
            let id = angarium_spool::ItemId {
                transaction: item.id.transaction.into_bytes(),
                queue: item.id.queue,
            };
            transaction.add_item(id, &[body], item.encode().unwrap());
        }
        if let Some(previous) = commit.replace(spool.commit(transaction)) {
            previous.wait().unwrap();
        }
    }
    if let Some(last) = commit {
        last.wait().unwrap();
    }
    spool.close().unwrap();
    let log = std::fs::read_dir(path.join("log")).unwrap();
    log.map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

/// The `number`-th message. Its id is as good as random, as the ids of a server are.
fn item(number: u64, now: Timestamp, state: State) -> Item {
    let id = ItemId {
        transaction: uuid::Uuid::from_u64_pair(mix(number), mix(!number)),
        queue: 1,
    };
    let sender = Address::new(
        "bounces",
        format!("sender{}.example", number % 100).as_str(),
    );
    let domain = format!("d{}.example", number % DOMAINS);
    let recipient = Address::new(format!("recipient.{number}"), domain.as_str());
    let mut item = Item::new(id, now, sender, recipient, "out".into());
    item.serverid = "default".into();
    item.senderip = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    item.senderhelo = Some("client.example".into());
    item.jobid = Some(format!("job-{}", number % JOBS).into());
    item.size = 500 + number % 4000;
    item.subject = Some(Text::from(format!("Message {number} of this week")));
    match state {
        State::Active => {}
        State::Hold => item.put_on_hold(now),
        State::Defer => {
            item.retrycount = 1;
            item.retryts = Some(now.after(Duration::from_secs(36_000 + number % 3600)));
            item.retryreason = Some("451 4.7.1 Try again later".into());
        }
    }
    item
}

/// Spreads numbers evenly (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn body(number: u64) -> String {
    format!(
        "Subject: Message {number} of this week\r\nFrom: <a@sender.example>\r\nTo: <recipient.{number}@d{}.example>\r\n\
         Message-ID: <{number}@sender.example>\r\n\r\n{}",
        number % DOMAINS,
        "A small message, one of very many.\r\n".repeat(8)
    )
}
