//! The resolver against a scripted name server on loopback.
#![allow(
    clippy::disallowed_types,
    reason = "the name server of these tests is the other side of the effect"
)]

use std::net::UdpSocket;
use std::sync::atomic::AtomicUsize;
use std::thread;

use angarium_effects::{Record, RecordData};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record as Wire};

use super::*;

/// A server that answers by the first label of the name; it ends with the process.
fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            counter.fetch_add(1, Ordering::SeqCst);
            let query = Message::from_vec(&buffer[..length]).expect("a query");
            if let Some(reply) = reply(&query) {
                let bytes = reply.to_vec().expect("a message");
                let _ = socket.send_to(&bytes, from);
            }
        }
    });
    (address, asked)
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn reply(query: &Message) -> Option<Message> {
    let mut message = query.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.metadata.authentic_data = query.metadata.authentic_data;
    let asked = query.queries[0].name().clone();
    let add = |message: &mut Message, owner: Name, data: RData| {
        message.add_answers([Wire::from_rdata(owner, 60, data)]);
    };
    let soa = |message: &mut Message| {
        let soa = SOA::new(name("ns.test."), name("root.test."), 1, 60, 60, 60, 30);
        message.add_authorities([Wire::from_rdata(name("test."), 60, RData::SOA(soa))]);
    };
    let text = asked.to_ascii();
    match text.split('.').next().unwrap_or_default() {
        "mx" => {
            add(
                &mut message,
                asked.clone(),
                RData::MX(MX::new(20, name("B.test."))),
            );
            add(&mut message, asked, RData::MX(MX::new(10, name("a.test."))));
        }
        "alias" => add(&mut message, asked, RData::CNAME(CNAME(name("a.test.")))),
        "a" => add(&mut message, asked, RData::A(A("192.0.2.7".parse().ok()?))),
        "nodata" => soa(&mut message),
        "nx" => {
            message.metadata.response_code = ResponseCode::NXDomain;
            soa(&mut message);
        }
        "servfail" => message.metadata.response_code = ResponseCode::ServFail,
        "refused" => message.metadata.response_code = ResponseCode::Refused,
        _ => return None,
    }
    Some(message)
}

fn resolver(address: SocketAddr) -> Resolver {
    let settings = Settings {
        servers: vec![Server {
            address,
            trusted: false,
        }],
        timeout: Duration::from_millis(700),
        ..Settings::default()
    };
    Resolver::start(settings, Arc::new(|| Monotonic(Duration::ZERO))).expect("a thread")
}

fn ask(resolver: &Resolver, name: &str, kind: RecordType) -> Result<DnsAnswer, DnsError> {
    ask_with(resolver, name, kind, &Query::default())
}

fn ask_with(
    resolver: &Resolver,
    name: &str,
    kind: RecordType,
    query: &Query,
) -> Result<DnsAnswer, DnsError> {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(resolver.query(name, kind, query))
}

#[test]
fn answers_are_sorted_aliases_followed_and_the_ad_flag_of_loopback_counts() {
    let (address, _) = server();
    let resolver = resolver(address);
    let answer = ask(&resolver, "MX.test", RecordType::Mx).expect("an answer");
    assert!(answer.authenticated);
    let mx = |preference, exchange: &str| RecordData::Mx {
        preference,
        exchange: exchange.to_owned(),
    };
    let found: Vec<RecordData> = answer.records.into_iter().map(|r| r.data).collect();
    assert_eq!(found, [mx(10, "a.test"), mx(20, "b.test")]);
    let alias = ask(&resolver, "alias.test", RecordType::A).expect("an answer");
    assert_eq!(
        alias.records,
        [Record {
            ttl: 60,
            data: RecordData::A("192.0.2.7".parse().expect("an address"))
        }]
    );
}

#[test]
fn each_kind_of_failure_has_its_error() {
    let (address, _) = server();
    let resolver = resolver(address);
    for (name, error) in [
        ("nx.test", DnsError::NxDomain),
        ("nodata.test", DnsError::NoData),
        ("servfail.test", DnsError::ServFail),
        ("refused.test", DnsError::Refused),
        ("silent.test", DnsError::TryAgain),
        ("a..test", DnsError::NoRecovery),
    ] {
        assert_eq!(ask(&resolver, name, RecordType::A), Err(error), "{name}");
    }
}

#[test]
fn found_and_not_found_are_kept_and_failures_are_not() {
    let (address, asked) = server();
    let resolver = resolver(address);
    for (name, questions) in [("a.test", 1), ("nx.test", 1)] {
        let before = asked.load(Ordering::SeqCst);
        for _ in 0..3 {
            let _ = ask(&resolver, name, RecordType::A);
        }
        assert_eq!(asked.load(Ordering::SeqCst) - before, questions, "{name}");
    }
    let before = asked.load(Ordering::SeqCst);
    for _ in 0..2 {
        let _ = ask(&resolver, "refused.test", RecordType::A);
    }
    assert!(asked.load(Ordering::SeqCst) - before >= 2);
    assert_eq!(resolver.cache_stats().hits, 4);
}

#[test]
fn a_call_with_its_own_servers_asks_them_and_keeps_nothing() {
    let (address, asked) = server();
    let (other, other_asked) = server();
    let resolver = resolver(address);
    let query = Query {
        servers: vec![other],
        timeout: Some(Duration::from_secs(1)),
    };
    assert!(ask_with(&resolver, "a.test", RecordType::A, &query).is_ok());
    assert_eq!(
        (
            asked.load(Ordering::SeqCst),
            other_asked.load(Ordering::SeqCst)
        ),
        (0, 1)
    );
    assert_eq!(resolver.cache_stats().size, 0);
    let late = Query {
        timeout: Some(Duration::from_millis(20)),
        ..query
    };
    let answer = ask_with(&resolver, "silent.test", RecordType::A, &late);
    assert_eq!(answer, Err(DnsError::TryAgain));
}

#[test]
fn equal_questions_at_once_are_asked_once() {
    let (address, asked) = server();
    let resolver = resolver(address);
    let ask = || resolver.query("a.test", RecordType::A, &Query::default());
    let all = futures_util::future::join_all((0..20).map(|_| ask()));
    let answers = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(all);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let activity = Activity {
        shared: 19,
        ..Activity::default()
    };
    assert_eq!(resolver.activity(), activity);
}
