//! `hsh -C PATH`: the debugger of an editor, which listens on a socket of its own.
//!
//! It speaks the control protocol (mta.md 5.1, 5.3), with the roles turned: we connect, it sends the version and commands.
//! A script stops at each of its debug points until the editor has asked for it with `e` and let it go on with `f`; what
//! it says with `echo` goes to the editor as well.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use angarium_control::Message as _;
use angarium_control::frame::{Kind, Request, Requests, answer_head};
use angarium_control::proto::{HslBreakPointRequest, HslLogResponse};
use angarium_effects::local::{self, LocalStream};
use angarium_runtime::host::Output;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};

use super::failure::Failure;
use crate::debugger::Hub;

/// Frames that wait for the editor to read them; a script that says more waits at its next debug point alone, so what is
/// beyond them is lost to the editor. Standard output has it all.
const WAITING: usize = 4096;

/// The connection to an editor.
pub struct Editor {
    hub: Arc<Hub>,
    frames: mpsc::Sender<Vec<u8>>,
    /// The first command has come.
    begun: Rc<Notify>,
    gone: Cell<bool>,
    /// The editor waits for a script to stop.
    waits: Cell<bool>,
    /// It has let a script go on, and will ask for the next stop.
    comes_back: Cell<bool>,
}

/// What serves the connection, beside the script.
pub struct Service {
    requests: ReadHalf<Box<dyn LocalStream>>,
    answers: WriteHalf<Box<dyn LocalStream>>,
    written: mpsc::Receiver<Vec<u8>>,
    editor: Rc<Editor>,
}

impl Editor {
    /// Connects to the editor that listens at `path`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(path: &Path) -> Result<(Rc<Editor>, Service), Failure> {
        let stream = local::connect(path).await.map_err(|error| {
            Failure::Failed(format!(
                "cannot connect to the debugger at {}: {error}",
                path.display()
            ))
        })?;
        let (requests, answers) = tokio::io::split(stream);
        let (frames, written) = mpsc::channel(WAITING);
        let hub = Arc::new(Hub::default());
        hub.stop_always();
        let editor = Rc::new(Editor {
            hub,
            frames,
            begun: Rc::default(),
            gone: Cell::default(),
            waits: Cell::default(),
            comes_back: Cell::default(),
        });
        let service = Service {
            requests,
            answers,
            written,
            editor: Rc::clone(&editor),
        };
        Ok((editor, service))
    }

    /// Where the script's points are told.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Waits until the editor has sent its first command, or is gone: a point that comes before is not missed.
    pub async fn ready(&self) {
        if !self.gone.get() {
            self.begun.notified().await;
        }
    }

    fn tell(&self, kind: Kind, data: &[u8]) {
        let mut frame = answer_head(kind, data.len()).to_vec();
        frame.extend_from_slice(data);
        let _ = self.frames.try_send(frame);
    }
}

impl Service {
    /// Answers the editor until it goes, or until `ended`; then writes what is left.
    pub async fn serve(mut self, ended: impl Future<Output = ()>) -> io::Result<()> {
        let editor = Rc::clone(&self.editor);
        let mut ended = std::pin::pin!(ended);
        let reading = read(&mut self.requests, &editor);
        let mut reading = std::pin::pin!(reading);
        let (mut is_read, mut is_over, mut has_left) = (false, false, false);
        loop {
            tokio::select! {
                () = &mut reading, if !is_read => {
                    is_read = true;
                    editor.gone.set(true);
                    editor.waits.set(false);
                    editor.comes_back.set(false);
                    editor.hub.leave();
                    editor.begun.notify_one();
                }
                () = &mut ended, if !is_over => is_over = true,
                frame = self.written.recv() => match frame {
                    Some(frame) => self.answers.write_all(&frame).await?,
                    None => break,
                },
            }
            if is_over && !has_left && !editor.hub.has_unseen() {
                // Whoever waits hears that nothing more will come.
                editor.hub.end();
                has_left = true;
            }
            let expects = editor.waits.get() || editor.comes_back.get();
            if has_left && self.written.is_empty() && !expects {
                break;
            }
        }
        self.answers.shutdown().await
    }
}

/// Reads and carries out commands until the editor goes or breaks the rules.
async fn read(from: &mut ReadHalf<Box<dyn LocalStream>>, editor: &Rc<Editor>) {
    let mut requests = Requests::default();
    let mut buffer = vec![0; 4096];
    loop {
        let has_body = |letter| letter == b'd';
        match requests.take(has_body) {
            Ok(Some(request)) => {
                editor.begun.notify_one();
                carry_out(&request, editor).await;
            }
            Ok(None) => match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => requests.feed(buffer.get(..read).unwrap_or_default()),
            },
            Err(error) => return editor.tell(Kind::Failed, error.to_string().as_bytes()),
        }
    }
}

async fn carry_out(request: &Request, editor: &Rc<Editor>) {
    match request.letter {
        b'd' => match HslBreakPointRequest::decode(&request.body[..]) {
            Ok(wanted) => {
                let record = editor.hub.poll(&wanted.debugid).unwrap_or_default();
                editor.tell(Kind::Done, &record.encode_to_vec());
            }
            Err(_) => editor.tell(Kind::Failed, b"Bad request"),
        },
        b'e' => {
            editor.waits.set(true);
            editor.comes_back.set(false);
            match editor.hub.wait().await {
                Ok(record) => editor.tell(Kind::Done, &record.encode_to_vec()),
                Err(_) => editor.tell(Kind::Failed, b"Aborted"),
            }
            editor.waits.set(false);
        }
        b'f' => {
            editor.comes_back.set(true);
            editor.hub.go_on();
            editor.tell(Kind::Done, b"");
        }
        _ => editor.tell(Kind::Failed, b"Unknown command"),
    }
}

/// Tells the editor what a script says, besides where it goes otherwise.
pub struct Told {
    /// Where it goes.
    pub output: Rc<dyn Output>,
    /// Who is told.
    pub editor: Rc<Editor>,
}

impl Output for Told {
    fn echo(&self, text: &[u8]) {
        self.output.echo(text);
        let record = HslLogResponse {
            location: None,
            text: text.to_vec(),
            id: String::new(),
        };
        self.editor.tell(Kind::Record, &record.encode_to_vec());
    }

    fn syslog(&self, priority: u32, message: &[u8]) {
        self.output.syslog(priority, message);
    }
}
