//! A plain SMTP client over a blocking socket, for what the real clients cannot be made to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The code.
    pub code: u16,
    /// All lines, without their line ends, with a newline between them.
    pub text: String,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    /// The greeting.
    pub greeting: Reply,
}

impl Client {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// If there is no connection or no greeting of 220.
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let client = Client::open(address)?;
        match client.greeting.code {
            220 => Ok(client),
            _ => Err(io::Error::other(client.greeting.text)),
        }
    }

    /// Connects and reads the greeting, whatever it says.
    ///
    /// # Errors
    /// If there is no connection or no greeting.
    pub fn open(address: SocketAddr) -> io::Result<Client> {
        Client::over(TcpStream::connect_timeout(
            &address,
            Duration::from_secs(10),
        )?)
    }

    /// Connects from an IPv4 address of this machine and reads the greeting, whatever it says.
    ///
    /// # Errors
    /// If there is no such address, no connection or no greeting.
    pub fn open_from(source: IpAddr, address: SocketAddr) -> io::Result<Client> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::new(source, 0))?;
        connect(&socket, &address)?;
        Client::over(TcpStream::from(socket))
    }

    fn over(stream: TcpStream) -> io::Result<Client> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let greeting = read_reply(&mut stream)?;
        Ok(Client { stream, greeting })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// As the socket.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// As the socket, or if what comes is no reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        read_reply(&mut self.stream)
    }

    /// Sends a line and reads the reply.
    ///
    /// # Errors
    /// As the socket, or if what comes is no reply.
    pub fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends a message, envelope and all in one piece as PIPELINING allows, and returns the reply that decided.
    /// `content` is what goes over the wire: dots doubled, CRLF at the end.
    ///
    /// # Errors
    /// As the socket, or if what comes is no reply.
    pub fn send(&mut self, from: &str, to: &str, content: &[u8]) -> io::Result<Reply> {
        self.write(format!("MAIL FROM:<{from}>\r\nRCPT TO:<{to}>\r\nDATA\r\n").as_bytes())?;
        let (mail, rcpt, data) = (self.reply()?, self.reply()?, self.reply()?);
        if data.code != 354 {
            let refused = [mail, rcpt, data]
                .into_iter()
                .find(|reply| reply.code >= 400);
            return refused.ok_or_else(|| io::Error::other("no 354 and no refusal"));
        }
        self.write(content)?;
        self.write(b".\r\n")?;
        self.reply()
    }

    /// Whether the server has closed the connection; waits for it.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

fn read_reply(stream: &mut impl BufRead) -> io::Result<Reply> {
    let mut text = String::new();
    loop {
        let mut line = Vec::new();
        stream.by_ref().take(65_536).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bad = || io::Error::other(format!("no reply: {}", line.escape_ascii()));
        let content = line.strip_suffix(b"\r\n").ok_or_else(bad)?;
        let (code, rest) = content.split_at_checked(3).ok_or_else(bad)?;
        let code: u16 = std::str::from_utf8(code)
            .ok()
            .and_then(|code| code.parse().ok())
            .filter(|code| (200..600).contains(code))
            .ok_or_else(bad)?;
        text.push_str(&String::from_utf8_lossy(content));
        match rest.first() {
            None | Some(b' ') => return Ok(Reply { code, text }),
            Some(b'-') => text.push('\n'),
            Some(_) => return Err(bad()),
        }
    }
}
