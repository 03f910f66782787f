//! Connections by a proxy that is told from where and where to (the PROXY protocol, version 2).

use std::net::{IpAddr, SocketAddr};

use angarium_effects::net::Connect;
use angarium_effects::{Connection, Net};
use tokio::io::AsyncReadExt;

use super::bundle::transports;
use super::*;

/// A proxy on loopback, and who was told to it: sources and destinations.
struct Proxy {
    port: u16,
    told: Rc<RefCell<Vec<(IpAddr, SocketAddr)>>>,
}

impl Proxy {
    fn start() -> Proxy {
        let listener = SystemNet.listen(local(1, 0), None).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let told: Rc<RefCell<Vec<_>>> = Rc::default();
        let shared = Rc::clone(&told);
        tokio::task::spawn_local(async move {
            while let Ok(accepted) = listener.accept().await {
                let connection = accepted.adopt().expect("a connection");
                tokio::task::spawn_local(relay(connection, Rc::clone(&shared)));
            }
        });
        Proxy { port, told }
    }

    fn told(&self) -> Vec<(String, u16)> {
        let told = self.told.borrow();
        let show = |(from, to): &(IpAddr, SocketAddr)| (from.to_string(), to.port());
        told.iter().map(show).collect()
    }
}

async fn relay(mut connection: Box<dyn Connection>, told: Rc<RefCell<Vec<(IpAddr, SocketAddr)>>>) {
    let mut header = [0; 28];
    connection.read_exact(&mut header).await.expect("a header");
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    let address = |at: usize| -> [u8; 4] { header[at..at + 4].try_into().expect("4 bytes") };
    let port = u16::from_be_bytes([header[26], header[27]]);
    let to = SocketAddr::new(IpAddr::from(address(20)), port);
    told.borrow_mut().push((IpAddr::from(address(16)), to));
    let how = Connect {
        source: None,
        nonlocal: false,
        timeout: None,
    };
    let mut onward = SystemNet.connect(to, &how).await.expect("a connection");
    let _ = tokio::io::copy_bidirectional(&mut connection, &mut onward).await;
}

#[test]
fn each_place_that_names_a_proxy_is_heard_in_its_turn() {
    // A transport, an address, a destination, a script: what stands further on wins.
    for (named, wins) in [
        ([true, false, false, false], 0),
        ([true, true, false, false], 1),
        ([true, true, true, false], 2),
        ([true, true, true, true], 3),
        ([false, true, false, false], 1),
    ] {
        run(|dir| async move {
            let sink = Sink::accepting();
            let proxies: Vec<Proxy> = (0..4).map(|_| Proxy::start()).collect();
            let yaml = |index: usize, server: &str| match named[index] {
                true => format!(
                    "proxyprotocol: {{server: {server}, port: {}}}",
                    proxies[index].port
                ),
                false => String::new(),
            };
            let address = yaml(1, "127.0.0.1");
            // A proxy may be named.
            let transport = yaml(0, "proxy.test");
            let app = transports(
                sink.port(),
                &format!(
                    "addresses:\n  - {{id: foreign, address: 192.0.2.1, hostname: foreign.test, {address}}}\n"
                ),
            );
            let app = app.replace(
                &format!("connection: {{port: {}}}", sink.port()),
                &format!(
                    "connection: {{port: {}, sourceip: {{addresses: [foreign]}}, {transport}}}",
                    sink.port()
                ),
            );
            let delivery = format!(
                "version: '6.0'\ndelivery: {{default: {{{}}}}}\n",
                yaml(2, "127.0.0.1")
            );
            let before = match named[3] {
                true => format!(
                    "Try([\"proxyprotocol\" => [\"server\" => \"127.0.0.1\", \"port\" => {}]]);",
                    proxies[3].port
                ),
                false => "Try([\"proxyprotocol\" => []]);".to_owned(),
            };
            let setup = Setup::bundle(&[
                ("config/smtpd-app.yaml", &app),
                ("config/smtpd-delivery.yaml", &delivery),
                ("hooks/queue/predelivery.hsl", &before),
            ])
            .domains(&["a.test"]);
            setup.host("proxy.test", 1);
            let mut rig = setup.start(dir.path());
            rig.submit("b@a.test", MESSAGE, Change::None).await;
            // The address is the proxy's, and none of this machine.
            has(
                &rig.only().await,
                &["localip=192.0.2.1", "result=DELIVERED"],
            );
            assert_eq!(sink.received()[0].helo, "foreign.test");
            for (index, proxy) in proxies.iter().enumerate() {
                let told = vec![("192.0.2.1".to_owned(), sink.port()); usize::from(index == wins)];
                assert_eq!(proxy.told(), told, "{named:?} {index}");
            }
            rig.stop().await;
        });
    }
}

#[test]
fn messages_that_are_sent_at_once_go_by_the_same_proxies() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let (of_transport, of_address, of_script) =
            (Proxy::start(), Proxy::start(), Proxy::start());
        let app = transports(
            sink.port(),
            &format!(
                "addresses:\n  - {{id: own, address: 127.0.0.9, proxyprotocol: {{server: 127.0.0.1, port: {}}}}}\n",
                of_address.port
            ),
        );
        let app = app.replace(
            &format!("connection: {{port: {}}}", sink.port()),
            &format!(
                "connection: {{port: {}, proxyprotocol: {{server: 127.0.0.1, port: {}}}}}",
                sink.port(),
                of_transport.port
            ),
        );
        let before = format!(
            r##"
$server = ["host" => "127.0.0.1", "port" => {}];
$named = [...$server, "sourceipid" => "own"];
$proxy = ["proxyprotocol" => ["server" => "127.0.0.1", "port" => {}]];
foreach (["out", $named, [...$named, ...$proxy]] as $to) {{
    echo "sent " . MIME()->setBody("x")->send("", ["b@a.test"], $to)["result"]["code"];
    echo "asked " . smtp_lookup_rcpt($to, "", "b@a.test");
}}
Delete();
"##,
            sink.port(),
            of_script.port
        );
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("hooks/queue/predelivery.hsl", &before),
        ])
        .domains(&["a.test"])
        .start(dir.path());
        rig.submit("b@a.test", MESSAGE, Change::None).await;
        rig.deliveries(1).await;
        assert_eq!(rig.lines("sent 250").len(), 3);
        assert_eq!(rig.lines("asked 1").len(), 3);
        let port = sink.port();
        assert_eq!(of_transport.told(), vec![("127.0.0.1".to_owned(), port); 2]);
        for proxy in [of_address, of_script] {
            assert_eq!(proxy.told(), vec![("127.0.0.9".to_owned(), port); 2]);
        }
        rig.stop().await;
    });
}

#[test]
fn a_proxy_that_is_not_there_fails_for_a_time_and_is_named() {
    for (server, said) in [
        ("127.0.0.1", "connecting to the proxy 127.0.0.1, port 1: "),
        (
            "nowhere.test",
            "connecting to the proxy nowhere.test, port 1: ",
        ),
    ] {
        run(|dir| async move {
            let sink = Sink::accepting();
            let app = transports(sink.port(), "");
            let app = app.replace(
                "connection: {",
                &format!("connection: {{proxyprotocol: {{server: {server}, port: 1}}, "),
            );
            let setup = Setup::bundle(&[("config/smtpd-app.yaml", &app)]).domains(&["a.test"]);
            let mut rig = setup.start(dir.path());
            rig.submit("b@a.test", MESSAGE, Change::None).await;
            has(&rig.only().await, &[said, "error=network", "result=QUEUE"]);
            assert_eq!(sink.connections(), 0);
            rig.stop().await;
        });
    }
}
