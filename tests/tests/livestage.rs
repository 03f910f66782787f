//! Live staging: a second running configuration for some of the connections, and its debug points over the control socket.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use angarium_control::Message as _;
use angarium_control::frame::{self, Answer, Answers, Kind};
use angarium_control::proto::{
    ConfigGreenConditions, ConfigGreenDeployRequest, ConfigGreenStatusResponse,
    HslBreakPointRequest, HslBreakPointResponse, HslLogResponse,
};
use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::program::angarium;
use angarium_tests::server::Server;
use angarium_tests::sink::Sink;
use angarium_tests::wait;
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
const CONTENT: &[u8] = b"From: <a@example.net>\r\nSubject: hello\r\n\r\nHello!\r\n";

const RCPTTO: &str = r#"
$n = length($transaction["recipients"] ?? []);
__debug ["session", "rcpt"] echo "to " . $arguments["address"]["domain"];
Accept();
"#;
const POSTDELIVERY: &str = r#"
__debug ["session", "done"] echo "done";
"#;

/// A relay with a control socket, and the text of a configuration to try, which greets as the stage.
fn relay(sink: &Sink) -> (Bundle, PathBuf, String) {
    let (bundle, socket, _, text) = relay_and_trial(sink);
    (bundle, socket, text)
}

/// The same with the bundle of the trial.
fn relay_and_trial(sink: &Sink) -> (Bundle, PathBuf, Bundle, String) {
    let mut bundle = Bundle::relay(sink.port());
    bundle.startup["environment"] = json!({ "controlsocket": { "path": "angarium.ctl" } });
    bundle.hook(
        "connect",
        "Accept([\"reason\" => \"relay.example base\"]);\n",
    );
    let mut stage = Bundle::relay(sink.port());
    stage.hook(
        "connect",
        "Accept([\"reason\" => \"relay.example stage\"]);\n",
    );
    stage.hook("rcptto", RCPTTO);
    stage.hook("postdelivery", POSTDELIVERY);
    let packed = Command::new(angarium())
        .arg("pack")
        .arg(stage.path())
        .output()
        .unwrap();
    assert!(packed.status.success(), "{packed:?}");
    let text = fs::read_to_string(stage.path().join("dist/smtpd-app.yaml")).unwrap();
    let socket = bundle.path().join("angarium.ctl");
    (bundle, socket, stage, text)
}

fn start(bundle: &Bundle, socket: &Path) -> Server {
    let server = Server::start(bundle);
    let answers = || ctl(socket, &["process-stats"]).status.success();
    assert!(wait::until_true(SOON, answers));
    server
}

fn ctl(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(angarium())
        .args(["ctl", "--socket", socket.to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap()
}

fn greeting(server: &Server) -> String {
    let mut client = Client::connect(server.address).unwrap();
    let text = client.greeting.text.clone();
    client.command("QUIT").unwrap();
    let word = text.rsplit(' ').next().unwrap();
    word.to_owned()
}

/// A client of the control socket as debuggers are.
struct Debugger {
    stream: UnixStream,
    answers: Answers,
    said: Vec<(String, String)>,
}

impl Debugger {
    fn connect(socket: &Path) -> Debugger {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.write_all(&[5, 3]).unwrap();
        Debugger {
            stream,
            answers: Answers::default(),
            said: Vec::new(),
        }
    }

    fn send(&mut self, letter: u8, body: Option<&[u8]>) {
        self.stream
            .write_all(&frame::request(letter, body))
            .unwrap();
    }

    fn answer(&mut self) -> Answer {
        loop {
            match self.answers.take().unwrap() {
                Some(record) if record.kind == Kind::Record => {
                    let said = HslLogResponse::decode(&record.data[..]).unwrap();
                    let text = String::from_utf8(said.text).unwrap();
                    self.said.push((said.id, text));
                }
                Some(answer) => return answer,
                None => {
                    let mut buffer = [0; 4096];
                    let read = self.stream.read(&mut buffer).unwrap();
                    assert!(read > 0, "the server has closed the connection");
                    self.answers.feed(&buffer[..read]);
                }
            }
        }
    }

    /// Sends a request that is carried out, and gives its answer.
    fn ask(&mut self, letter: u8, body: Option<&[u8]>) -> Vec<u8> {
        self.send(letter, body);
        let answer = self.answer();
        let text = String::from_utf8_lossy(&answer.data).into_owned();
        assert_eq!(answer.kind, Kind::Done, "{text}");
        answer.data
    }

    fn deploy(&mut self, wanted: &ConfigGreenDeployRequest) {
        assert!(self.ask(b'a', Some(&wanted.encode_to_vec())).is_empty());
    }

    fn status(&mut self) -> Option<ConfigGreenStatusResponse> {
        let data = self.ask(b'b', None);
        let status = ConfigGreenStatusResponse::decode(&data[..]).unwrap();
        (!data.is_empty()).then_some(status)
    }
}

fn stage(text: &str, conditions: ConfigGreenConditions) -> ConfigGreenDeployRequest {
    ConfigGreenDeployRequest {
        id: "trial".to_owned(),
        conditions: Some(conditions),
        config: text.to_owned(),
        connectionbound: false,
    }
}

#[test]
fn connections_that_fit_come_under_the_stage_and_others_do_not() {
    let sink = Sink::start();
    let (bundle, socket, text) = relay(&sink);
    let server = start(&bundle, &socket);
    let mut debugger = Debugger::connect(&socket);
    assert_eq!(debugger.status(), None);
    assert_eq!(greeting(&server), "base");
    // Two connections, whoever they come from.
    let count = ConfigGreenConditions {
        count: 2,
        ..ConfigGreenConditions::default()
    };
    debugger.deploy(&stage(&text, count));
    assert_eq!(
        [greeting(&server), greeting(&server), greeting(&server)],
        ["stage", "stage", "base"]
    );
    let status = debugger.status().unwrap();
    assert_eq!(
        (&*status.id, status.expired, status.connections),
        ("trial", true, 2)
    );
    // From elsewhere alone; then from here.
    let from = |network: &str| ConfigGreenConditions {
        remoteips: vec![network.to_owned()],
        serverids: vec!["default".to_owned()],
        ..ConfigGreenConditions::default()
    };
    debugger.deploy(&stage(&text, from("192.0.2.0/24")));
    assert_eq!(greeting(&server), "base");
    debugger.deploy(&stage(&text, from("127.0.0.0/8")));
    assert_eq!(greeting(&server), "stage");
    // The session that has begun keeps its settings when the stage ends.
    let mut client = Client::connect(server.address).unwrap();
    assert!(debugger.ask(b'c', None).is_empty());
    assert_eq!(
        (debugger.status(), greeting(&server).as_str()),
        (None, "base")
    );
    assert_eq!(client.command("NOOP").unwrap().code, 250);
    drop(server);
}

#[test]
fn a_stage_that_is_bound_ends_with_its_connection_and_a_wrong_one_does_not_begin() {
    let sink = Sink::start();
    let (bundle, socket, text) = relay(&sink);
    let server = start(&bundle, &socket);
    let mut debugger = Debugger::connect(&socket);
    let none = ConfigGreenConditions::default();
    let wrong = |config: &str, conditions: ConfigGreenConditions, what: &str| {
        let mut debugger = Debugger::connect(&socket);
        let wanted = stage(config, conditions);
        debugger.send(b'a', Some(&wanted.encode_to_vec()));
        let answer = debugger.answer();
        let told = String::from_utf8(answer.data).unwrap();
        assert!(answer.kind == Kind::Failed && told.contains(what), "{told}");
    };
    wrong(
        "version: '6.0'\nservers: [{id: default, colour: red}]\n",
        none.clone(),
        "colour",
    );
    wrong(
        &text.replace("Accept();", "Acept();"),
        none.clone(),
        "Acept",
    );
    wrong(
        &text.replace("sink", "elsewhere"),
        none.clone(),
        "has no transport elsewhere",
    );
    let other = ConfigGreenConditions {
        serverids: vec!["other".to_owned()],
        ..none.clone()
    };
    wrong(&text, other, "there is no server other, but default");
    let share = ConfigGreenConditions {
        probability: 2.0,
        ..none.clone()
    };
    wrong(&text, share, "probability");
    assert_eq!(greeting(&server), "base");
    debugger.deploy(&ConfigGreenDeployRequest {
        connectionbound: true,
        ..stage(&text, none)
    });
    assert_eq!(greeting(&server), "stage");
    drop(debugger);
    assert!(wait::until_true(SOON, || greeting(&server) == "base"));
    drop(server);
}

/// Sends messages one after the other until it is stopped.
struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Traffic {
    fn start(address: SocketAddr) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                let mut client = Client::connect(address).unwrap();
                let reply = client.send("a@example.net", "b@example.org", CONTENT);
                assert_eq!(reply.unwrap().code, 250);
                count += 1;
            }
            count
        });
        Traffic { stop, thread }
    }

    /// The number of messages that were accepted.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn a_debugger_stops_the_scripts_of_a_stage_and_hears_what_they_say() {
    let sink = Sink::start();
    let (bundle, socket, text) = relay(&sink);
    let server = start(&bundle, &socket);
    let mut debugger = Debugger::connect(&socket);
    debugger.deploy(&stage(&text, ConfigGreenConditions::default()));
    let traffic = Traffic::start(server.address);
    let (mut stopped, mut polled) = (BTreeSet::new(), BTreeSet::new());
    let all = ["done postdelivery:", "rcpt rcptto:default"].map(str::to_owned);
    while stopped.len() < 2 || polled.len() < 2 || debugger.said.is_empty() {
        let data = debugger.ask(b'e', None);
        let record = HslBreakPointResponse::decode(&data[..]).unwrap();
        assert_eq!(record.debugid, "session");
        assert_eq!(record.transactionid.get(..36).map(str::len), Some(36));
        let file = record.location.unwrap().file;
        if record.id == "rcpt" {
            let values: serde_json::Value = serde_json::from_str(&record.values).unwrap();
            assert_eq!(values["n"], json!({ "format": "json", "value": "0" }));
            let arguments = values["arguments"]["value"].as_str().unwrap();
            assert!(arguments.contains("example.org"), "{arguments}");
            assert!(!traffic.thread.is_finished(), "the script stands still");
        }
        stopped.insert(format!("{} {file}", record.id));
        assert!(debugger.ask(b'f', None).is_empty());
        // What came while nobody waited is kept.
        let debugid = "session".to_owned();
        let wanted = HslBreakPointRequest { debugid }.encode_to_vec();
        let data = debugger.ask(b'd', Some(&wanted));
        let kept = HslBreakPointResponse::decode(&data[..]).unwrap();
        if !kept.id.is_empty() {
            polled.insert(format!("{} {}", kept.id, kept.location.unwrap().file));
        }
    }
    assert!(
        stopped.iter().eq(&all) && polled.iter().eq(&all),
        "{stopped:?} {polled:?}"
    );
    assert!(
        debugger
            .said
            .iter()
            .all(|(id, text)| { id.len() >= 36 && ["to example.org", "done"].contains(&&**text) })
    );
    // A debugger that goes lets everybody go on.
    drop(debugger);
    let sent = traffic.end();
    assert!(wait::until_true(SOON, || sink.count() == sent));
    drop(server);
}

#[test]
fn operators_start_show_and_end_a_stage() {
    let sink = Sink::start();
    let (bundle, socket, trial, text) = relay_and_trial(&sink);
    let server = start(&bundle, &socket);
    let file = bundle.path().join("trial.yaml");
    fs::write(&file, &text).unwrap();
    let file = file.to_str().unwrap();
    let folder = trial.path().to_str().unwrap();
    let shown = |arguments: &[&str]| {
        let output = ctl(&socket, arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        shown(&["config", "livestage", "status"]),
        "there is no stage\n"
    );
    let line = [
        "config",
        "livestage",
        "start",
        file,
        "--id",
        "trial",
        "--remoteip",
        "127.0.0.1",
        "--time",
        "600",
    ];
    assert_eq!(shown(&line), "ok\n");
    assert_eq!(greeting(&server), "stage");
    let status = shown(&["config", "livestage", "status"]);
    assert!(
        status.contains("trial") && status.contains("active"),
        "{status}"
    );
    assert!(
        status.contains("remoteip=127.0.0.1 time=10m00s"),
        "{status}"
    );
    let json = shown(&["--json", "config", "livestage", "status"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["connections"], 1);
    let traffic = Traffic::start(server.address);
    let points = shown(&["config", "livestage", "debug", "--count", "1"]);
    assert!(traffic.end() > 0);
    assert!(
        points.contains(" at rcptto:default:3:") || points.contains(" at postdelivery::2:"),
        "{points}"
    );
    // A folder is packed on the way.
    let line = ["config", "livestage", "start", folder, "--id", "folder"];
    assert_eq!(shown(&line), "ok\n");
    assert_eq!(greeting(&server), "stage");
    assert_eq!(shown(&["config", "livestage", "cancel"]), "ok\n");
    assert_eq!(greeting(&server), "base");
    drop(server);
}
