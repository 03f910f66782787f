//! `demo`: a server, a destination and a message, with every step shown and the script line that decided it.
//!
//! The bundle of `init` is written to a folder, free ports are picked, and the folder is watched: saving a script
//! reloads it, and the next message shows the change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_config::{FileKind as ConfigFile, HookType, Options, Override, Source, bundle};
use angarium_effects::disk::{Disk, FileKind, SystemDisk};
use angarium_effects::system::{SystemClock, SystemNet, SystemRandom};
use angarium_effects::{Clock, Connect, Connection, Net, Random};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::failure::{Failure, reason};
use super::files::{self, SystemFiles};
use super::sink::Sink;
use super::terminal::print;
use crate::app::{App, Place, StartError, prepare};
use crate::log::{Log, Severity};

/// `angarium demo`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the scripts, new or empty, or one of an earlier demo [default: a new temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// End after the first message
    #[arg(long)]
    once: bool,
}

/// How often the folder is looked at.
const WATCH: Duration = Duration::from_millis(300);
/// How long the destination waits for a message before the demo says that something is wrong.
const ARRIVAL: Duration = Duration::from_secs(20);
const SENDER: &str = "me@example.net";
const RECIPIENT: &str = "you@example.com";

/// Runs the demo until Ctrl-C.
///
/// # Errors
/// What keeps it from running, as a sentence.
pub async fn run(args: Args) -> Result<(), Failure> {
    let folder = folder(args.dir)?;
    let arrived = folder.join("arrived");
    let (tell, mut arrivals) = mpsc::unbounded_channel();
    let destination = listen(0)?;
    let destination_at = address(&*destination)?;
    let sink = Sink::handing(Box::new(move |headline, body| {
        let path = (1_u32..)
            .map(|number| arrived.join(format!("{number:06}.eml")))
            .find(|path| SystemDisk.metadata(path).is_err())
            .unwrap_or_else(|| arrived.join("last.eml"));
        files::write(&path, body)?;
        // The demo that listens may have ended.
        let _ = tell.send((headline.to_owned(), path, body.to_vec()));
        Ok(())
    }));
    tokio::task::spawn_local(Rc::new(sink).accept(destination));

    let app = start(&folder, destination_at.port())?;
    let server = app
        .addresses()
        .first()
        .map(|(_, address)| *address)
        .ok_or_else(|| Failure::Failed("the bundle has no listener".to_owned()))?;
    print(&format!(
        "A mail server listens on {server}, a destination on {destination_at}.\n\
         Its scripts are in {}.\n\n",
        folder.join("src").display()
    ))?;
    let demo = Demo {
        app,
        folder,
        server,
    };
    let outcome = demo.show(args.once, &mut arrivals).await;
    demo.app.stop().await;
    outcome
}

struct Demo {
    app: Arc<App>,
    folder: PathBuf,
    server: SocketAddr,
}

/// A message at the destination: a line about it, where it was written, its bytes.
type Arrival = (String, PathBuf, Vec<u8>);

impl Demo {
    async fn show(
        &self,
        once: bool,
        arrivals: &mut mpsc::UnboundedReceiver<Arrival>,
    ) -> Result<(), Failure> {
        // Made once: a signal that comes while something else is done is kept until the next look.
        let mut interrupt = signal(SignalKind::interrupt())
            .map_err(|error| Failure::Failed(format!("Ctrl-C cannot be heard: {error}")))?;
        let mut seen = self.scripts();
        let mut number = 1;
        send(self.server, number).await?;
        let waiting = SystemClock.sleep(ARRIVAL);
        tokio::select! {
            Some(arrival) = arrivals.recv() => show_arrival(&arrival)?,
            () = waiting => {
                return Err(Failure::Failed(format!(
                    "the message did not arrive within {} seconds; what the server said is above",
                    ARRIVAL.as_secs()
                )));
            }
            _ = interrupt.recv() => return Ok(()),
        }
        if once {
            return Ok(());
        }
        print(&self.next_steps())?;
        let mut enter = enter_key();
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                Some(arrival) = arrivals.recv() => show_arrival(&arrival)?,
                // Without a keyboard this never comes, and the demo goes on.
                Some(()) = enter.recv() => {
                    number += 1;
                    send(self.server, number).await?;
                }
                () = SystemClock.sleep(WATCH) => {
                    let now = self.scripts();
                    if now != seen {
                        self.reload(&changed(&seen, &now)).await?;
                        seen = now;
                    }
                }
            }
        }
        print(&format!(
            "\nStopping. The scripts stay in {}; `angarium serve {}` runs them.\n",
            self.folder.join("src").display(),
            self.folder.display()
        ))
    }

    fn next_steps(&self) -> String {
        let server = self.server;
        format!(
            "\nWhat to do next\n\
             - change a script, for example {}, and save it: it is reloaded at once.\n\
             - press Enter to send the message again, or send your own from another terminal:\n\n    \
             curl smtp://{server} --mail-from {SENDER} --mail-rcpt {RECIPIENT} --crlf -T - <<< $'Subject: hello\\n\\nHello!'\n    \
             swaks --server {server} --from {SENDER} --to {RECIPIENT}\n\n\
             - see a refusal: send from me@nowhere.invalid.\n\
             - press Ctrl-C to end.\n\n",
            self.folder.join("src/hooks/eod/default.hsl").display()
        )
    }

    async fn reload(&self, changed: &str) -> Result<(), Failure> {
        match self.app.reload().await {
            Ok(warnings) => {
                let mut text =
                    format!("{changed} was saved: reloaded. The next message meets it.\n");
                for warning in warnings {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "warning: {warning}");
                }
                print(&text)
            }
            Err(error) => print(&format!(
                "{changed} was saved, but is not taken; the old scripts stay in force.\n{}\n",
                error.to_string().trim_end()
            )),
        }
    }

    /// When each file below `src` was changed.
    fn scripts(&self) -> BTreeMap<PathBuf, (Duration, u64)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.folder.join("src")];
        while let Some(folder) = folders.pop() {
            for entry in SystemDisk.list(&folder).unwrap_or_default() {
                let path = folder.join(&entry.name);
                // Editors write drafts beside the file.
                let draft = entry.name.to_string_lossy();
                if draft.starts_with('.') || draft.ends_with('~') {
                    continue;
                }
                match entry.kind {
                    FileKind::Directory => folders.push(path),
                    _ => {
                        if let Ok(file) = SystemDisk.metadata(&path) {
                            found.insert(path, (file.modified, file.length));
                        }
                    }
                }
            }
        }
        found
    }
}

/// The first file that is not as it was.
fn changed(
    before: &BTreeMap<PathBuf, (Duration, u64)>,
    now: &BTreeMap<PathBuf, (Duration, u64)>,
) -> String {
    let newer = now
        .iter()
        .find(|(path, state)| before.get(*path) != Some(state));
    let gone = || before.iter().find(|(path, _)| !now.contains_key(*path));
    newer
        .or_else(gone)
        .map_or_else(String::new, |(path, _)| path.display().to_string())
}

/// The folder of the demo, with the bundle in it.
fn folder(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let folder = given.unwrap_or_else(|| {
        let name = format!("angarium-demo-{:08x}", SystemRandom.next_u64() as u32);
        std::env::temp_dir().join(name)
    });
    // Messages name files by their whole path, whatever folder the demo was started in.
    let folder = std::path::absolute(&folder)
        .map_err(|error| Failure::of_file("use the folder", &folder, &error))?;
    if files::is_folder(&folder.join("src/config")) {
        return Ok(folder);
    }
    if !files::is_vacant(&folder)? {
        return Err(Failure::Failed(format!(
            "the folder {} is not empty and no bundle: name a new one",
            folder.display()
        )));
    }
    for (path, text) in bundle::quickstart(&folder).iter() {
        files::write_new(path, text)?;
    }
    Ok(folder)
}

fn listen(port: u16) -> Result<Rc<dyn angarium_effects::Listener>, Failure> {
    SystemNet
        .listen(SocketAddr::from(([127, 0, 0, 1], port)), None)
        .map_err(|error| Failure::Failed(format!("cannot listen on loopback: {}", reason(&error))))
}

fn address(listener: &dyn angarium_effects::Listener) -> Result<SocketAddr, Failure> {
    listener
        .local_addr()
        .map_err(|error| Failure::Failed(format!("cannot listen on loopback: {}", reason(&error))))
}

/// Starts the server with free ports in place of those in the files.
fn start(folder: &Path, destination: u16) -> Result<Arc<App>, Failure> {
    let mut last = None;
    // Between picking a port and opening it another program may take it.
    for _ in 0..5 {
        let port = address(&*listen(0)?)?.port();
        let place = Place {
            source: Source::Tree(folder.to_owned()),
            options: Options {
                ignore_unknown: false,
                set: vec![
                    Override::new(ConfigFile::Startup, "servers[0].listeners[0].port", port),
                    Override::new(
                        ConfigFile::Running,
                        "transportgroups[0].transports[0].connection.port",
                        destination,
                    ),
                ],
            },
            files: Arc::new(SystemFiles),
        };
        let prepared = prepare(place).map_err(|error| Failure::Report(error.to_string()))?;
        let log = Arc::new(Show {
            folder: folder.to_owned(),
        });
        match App::start(prepared, log) {
            Ok(app) => return Ok(Arc::new(app)),
            Err(error @ StartError::Bind(_)) => last = Some(error.to_string()),
            Err(error) => return Err(Failure::Failed(error.to_string())),
        }
    }
    Err(Failure::Failed(last.unwrap_or_default()))
}

/// Tells of each press of Enter; nothing where there is no keyboard.
fn enter_key() -> mpsc::UnboundedReceiver<()> {
    let (sender, receiver) = mpsc::unbounded_channel();
    // Reading a terminal blocks: a thread of its own, which ends with the program.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || sender.send(()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Sends a message and shows the dialogue.
async fn send(server: SocketAddr, number: u32) -> Result<(), Failure> {
    let lost = |error: std::io::Error| {
        Failure::Failed(format!(
            "the connection to {server} broke: {}",
            reason(&error)
        ))
    };
    let connection = SystemNet
        .connect(server, &Connect::default())
        .await
        .map_err(lost)?;
    let mut connection = BufReader::new(connection);
    let body = format!(
        "From: <{SENDER}>\r\nTo: <{RECIPIENT}>\r\nSubject: Message {number} of the demo\r\n\r\nHello!\r\n"
    );
    let mut good = reply(&mut connection).await.map_err(lost)?;
    let commands = [
        "EHLO client.example.net".to_owned(),
        format!("MAIL FROM:<{SENDER}>"),
        format!("RCPT TO:<{RECIPIENT}>"),
        "DATA".to_owned(),
    ];
    for command in &commands {
        if good {
            good = say(&mut connection, command).await?;
        }
    }
    if good {
        for line in body.lines() {
            print(&format!("C: {line}\n"))?;
        }
        connection.write_all(body.as_bytes()).await.map_err(lost)?;
        say(&mut connection, ".").await?;
    }
    // A server that has closed already needs no goodbye.
    let _ = say(&mut connection, "QUIT").await;
    print("\n")
}

type Dialogue = BufReader<Box<dyn Connection>>;

/// Sends a command and tells whether the answer was good.
async fn say(connection: &mut Dialogue, command: &str) -> Result<bool, Failure> {
    let lost = |error: std::io::Error| {
        Failure::Failed(format!("the connection broke: {}", reason(&error)))
    };
    print(&format!("C: {command}\n"))?;
    connection
        .write_all(format!("{command}\r\n").as_bytes())
        .await
        .map_err(lost)?;
    reply(connection).await.map_err(lost)
}

/// Reads a reply, shows it, and tells whether it was 2xx or 3xx.
async fn reply(connection: &mut Dialogue) -> std::io::Result<bool> {
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        // What cannot be shown has nobody to see it.
        let _ = print(&format!("S: {}\n", line.trim_end()));
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line.starts_with(['2', '3']));
        }
    }
}

fn show_arrival((headline, path, body): &Arrival) -> Result<(), Failure> {
    let shown = String::from_utf8_lossy(body).replace("\r\n", "\n");
    let mut text = format!(
        "Arrived at the destination: {headline}\n  {}\n",
        path.display()
    );
    for line in shown.lines() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  | {line}");
    }
    print(&text)
}

/// Shows which line of which script decided, and what scripts print.
struct Show {
    folder: PathBuf,
}

impl Log for Show {
    fn line(&self, severity: Severity, _id: &str, body: &str) {
        let text = match severity {
            Severity::Error | Severity::Warning => format!("   ! {body}\n"),
            // Echo lines of scripts.
            Severity::Debug => format!("   echo: {body}\n"),
            Severity::Notice | Severity::Info => return,
        };
        // What cannot be shown has nobody to see it.
        let _ = print(&text);
    }

    fn hook(&self, hook: HookType, _id: &str, decided: Option<&str>, _fuel: u64) {
        let text = match decided.and_then(|place| self.place(place)) {
            Some(place) => format!("   {hook}: {place}\n"),
            None => format!("   {hook}: the script just ended\n"),
        };
        // As above.
        let _ = print(&text);
    }
}

impl Show {
    /// A place and the source line there.
    fn place(&self, place: &str) -> Option<String> {
        let (file, line) = place.rsplit_once(':')?;
        let text = files::read(Path::new(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let source = text
            .lines()
            .nth(line.parse::<usize>().ok()?.checked_sub(1)?)
            .unwrap_or_default()
            .trim();
        let short = Path::new(file)
            .strip_prefix(&self.folder)
            .unwrap_or(Path::new(file));
        Some(format!("{}:{line}  {source}", short.display()))
    }
}
