//! A client of the control socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use angarium_control::frame::{Answers, Kind, VERSION, request};

pub struct Control {
    stream: UnixStream,
    answers: Answers,
}

impl Control {
    /// Connects, if somebody listens.
    pub fn connect(path: &Path) -> Option<Control> {
        let mut stream = UnixStream::connect(path).ok()?;
        stream.write_all(&VERSION).ok()?;
        let answers = Answers::default();
        Some(Control { stream, answers })
    }

    /// Sends a request, with a body if the command has one, and waits for the whole answer.
    pub fn call(&mut self, letter: u8, body: Option<&[u8]>) -> Vec<u8> {
        self.stream.write_all(&request(letter, body)).unwrap();
        let mut buffer = vec![0; 1 << 18];
        loop {
            if let Some(answer) = self.answers.take().unwrap() {
                let text = String::from_utf8_lossy(&answer.data);
                assert_eq!(answer.kind, Kind::Done, "{text}");
                return answer.data;
            }
            let read = self.stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the server has gone");
            self.answers.feed(&buffer[..read]);
        }
    }
}
