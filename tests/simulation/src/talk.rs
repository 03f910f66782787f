//! Lines of SMTP over a connection, for senders and sinks.

use std::time::Duration;

use angarium_effects::VirtualClock;
use angarium_effects::clock::timeout;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::net::Stream;

/// A connection with what was read of it.
pub struct Talk {
    pub stream: Stream,
    clock: VirtualClock,
    read: Vec<u8>,
    /// How long it waits for the other side.
    patience: Duration,
}

/// The other side has gone, or says nothing.
#[derive(Debug)]
pub struct Gone;

impl Talk {
    pub fn new(stream: Stream, clock: &VirtualClock, patience: Duration) -> Talk {
        Talk {
            stream,
            clock: clock.clone(),
            read: Vec::new(),
            patience,
        }
    }

    async fn fill(&mut self) -> Result<(), Gone> {
        let mut bytes = [0; 4096];
        let read = timeout(&self.clock, self.patience, self.stream.read(&mut bytes)).await;
        match read {
            Some(Ok(count)) if count > 0 => {
                self.read.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            _ => Err(Gone),
        }
    }

    /// The next line, without its end.
    pub async fn line(&mut self) -> Result<Vec<u8>, Gone> {
        let mut looked = 0;
        loop {
            let rest = self.read.get(looked..).unwrap_or_default();
            if let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.read.drain(..looked + end + 2).collect();
                line.truncate(line.len() - 2);
                return Ok(line);
            }
            looked = self.read.len().saturating_sub(1);
            self.fill().await?;
        }
    }

    /// So many bytes.
    pub async fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Gone> {
        while self.read.len() < count {
            self.fill().await?;
        }
        Ok(self.read.drain(..count).collect())
    }

    pub async fn say(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let written = timeout(&self.clock, self.patience, self.stream.write_all(bytes)).await;
        match written {
            Some(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// A reply: its code and its last line.
    pub async fn reply(&mut self) -> Result<(u16, String), Gone> {
        loop {
            let line = self.line().await?;
            let text = String::from_utf8_lossy(&line).into_owned();
            let code = text.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or(Gone)?;
            if text.as_bytes().get(3) != Some(&b'-') {
                return Ok((code, text));
            }
        }
    }

    /// A command and its reply.
    pub async fn ask(&mut self, line: &str) -> Result<(u16, String), Gone> {
        self.say(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Waits.
    pub async fn pause(&self, time: Duration) {
        use angarium_effects::Clock as _;
        self.clock.sleep(time).await;
    }
}
