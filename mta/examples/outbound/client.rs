//! Hands messages in, over a few sessions.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

const SESSIONS: u32 = 20;

/// Sends so many messages of 4 KiB, to the domains in turn; each has been answered with 250 when this returns.
pub fn submit(port: u16, messages: u32, domains: u32) {
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            scope.spawn(move || {
                let mut session_of = Session::new(port);
                for number in (session..messages).step_by(SESSIONS as usize) {
                    session_of.send(number, number % domains);
                }
                session_of.say("QUIT\r\n", 221);
            });
        }
    });
}

struct Session {
    stream: BufReader<TcpStream>,
    content: String,
}

impl Session {
    fn new(port: u16) -> Session {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let line = "One line of a message that is four kibibytes long in all.\r\n";
        let mut session = Session {
            stream: BufReader::new(stream),
            content: line.repeat(4096 / line.len()),
        };
        session.expect(220);
        session.say("EHLO client.example\r\n", 250);
        session
    }

    fn send(&mut self, number: u32, domain: u32) {
        let envelope = format!(
            "MAIL FROM:<a@client.example>\r\nRCPT TO:<b{number}@d{domain}.example>\r\nDATA\r\n"
        );
        self.stream
            .get_mut()
            .write_all(envelope.as_bytes())
            .unwrap();
        for code in [250, 250, 354] {
            self.expect(code);
        }
        let content = format!(
            "Subject: {number}\r\nMessage-ID: <{number}@client.example>\r\n\r\n{}.\r\n",
            self.content
        );
        self.say(&content, 250);
    }

    fn say(&mut self, text: &str, code: u16) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
        self.expect(code);
    }

    fn expect(&mut self, code: u16) {
        let mut line = String::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            assert!(
                line.starts_with(&code.to_string()),
                "{code} expected: {line}"
            );
            if line.as_bytes().get(3) == Some(&b' ') {
                return;
            }
        }
    }
}
