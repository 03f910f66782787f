//! The destinations: one listener for all of 127/8, whose sessions are tasks of one thread.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How long anything may take.
const LONGEST: Duration = Duration::from_secs(300);

/// Takes every message.
pub struct Sink {
    port: u16,
    counts: Arc<Counts>,
    greet: watch::Sender<bool>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU32,
    open: AtomicU32,
    most: AtomicU32,
    messages: AtomicU32,
    sources: Mutex<BTreeMap<IpAddr, u32>>,
}

impl Sink {
    /// Starts it. Each reply takes `delay`, the greeting included; unless `held` is zero nobody is greeted before
    /// [`Sink::greet`].
    pub fn start(delay: Duration, held: u32) -> Sink {
        let counts = Arc::new(Counts::default());
        let (greet, greeted) = watch::channel(held == 0);
        let (tell, told) = std::sync::mpsc::channel();
        let shared = Arc::clone(&counts);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, async move {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.bind("0.0.0.0:0".parse().unwrap()).unwrap();
                let listener = socket.listen(16_384).unwrap();
                tell.send(listener.local_addr().unwrap().port()).unwrap();
                let counts: Rc<Arc<Counts>> = Rc::new(shared);
                loop {
                    let (stream, from) = listener.accept().await.unwrap();
                    *counts.sources.lock().unwrap().entry(from.ip()).or_default() += 1;
                    counts.connections.fetch_add(1, Relaxed);
                    let open = counts.open.fetch_add(1, Relaxed) + 1;
                    counts.most.fetch_max(open, Relaxed);
                    let (counts, greeted) = (Rc::clone(&counts), greeted.clone());
                    tokio::task::spawn_local(async move {
                        let _ = session(stream, delay, greeted, &counts.messages).await;
                        counts.open.fetch_sub(1, Relaxed);
                    });
                }
            });
        });
        Sink {
            port: told.recv().unwrap(),
            counts,
            greet,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Greets those who wait, and everybody from now on.
    pub fn greet(&self) {
        self.greet.send_replace(true);
    }

    /// Waits until so many messages have come.
    pub fn wait(&self, count: u32) {
        wait("messages", &self.counts.messages, count);
    }

    /// Waits until so many connections are open.
    pub fn wait_open(&self, count: u32) {
        wait("connections", &self.counts.open, count);
    }

    pub fn messages(&self) -> u32 {
        self.counts.messages.load(Relaxed)
    }

    pub fn connections(&self) -> u32 {
        self.counts.connections.load(Relaxed)
    }

    /// The most connections at a time.
    pub fn most(&self) -> u32 {
        self.counts.most.load(Relaxed)
    }

    /// Connections by the address from which they came.
    pub fn sources(&self) -> BTreeMap<IpAddr, u32> {
        self.counts.sources.lock().unwrap().clone()
    }
}

fn wait(what: &str, counter: &AtomicU32, count: u32) {
    let begin = Instant::now();
    while counter.load(Relaxed) < count {
        let there = counter.load(Relaxed);
        assert!(begin.elapsed() < LONGEST, "{there} of {count} {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

async fn session(
    mut stream: TcpStream,
    delay: Duration,
    mut greeted: watch::Receiver<bool>,
    messages: &AtomicU32,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let _ = greeted.wait_for(|greeted| *greeted).await;
    say(&mut stream, delay, "220 sink.example ESMTP\r\n").await?;
    let mut input = Vec::new();
    let mut in_content = false;
    loop {
        let end = if in_content {
            b"\r\n.\r\n".as_slice()
        } else {
            b"\r\n"
        };
        let Some(at) = input.windows(end.len()).position(|window| window == end) else {
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let line: Vec<u8> = input.drain(..at + end.len()).collect();
        if in_content {
            in_content = false;
            // It counts when it is answered.
            say(&mut stream, delay, "250 2.0.0 Ok\r\n").await?;
            messages.fetch_add(1, Relaxed);
            continue;
        }
        let reply = match line.get(..4).unwrap_or_default() {
            b"EHLO" => "250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
            b"DATA" => {
                in_content = true;
                "354 Go ahead\r\n"
            }
            b"QUIT" => return say(&mut stream, Duration::ZERO, "221 2.0.0 Bye\r\n").await,
            _ => "250 2.0.0 Ok\r\n",
        };
        say(&mut stream, delay, reply).await?;
    }
}

async fn say(stream: &mut TcpStream, delay: Duration, reply: &str) -> std::io::Result<()> {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    stream.write_all(reply.as_bytes()).await
}
