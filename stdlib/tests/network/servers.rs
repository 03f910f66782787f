//! Small servers, each connection on a thread of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A server on loopback; gives its port. It lives as long as the test.
pub fn serve(each: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let each = Arc::new(each);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = Arc::clone(&each);
            thread::spawn(move || each(stream));
        }
    });
    port
}

/// Sends back whatever comes.
pub fn echo() -> u16 {
    serve(|mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    })
}

/// A port where nobody listens.
pub fn closed() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    listener.local_addr().expect("an address").port()
}

/// A certificate for these names with its key.
pub fn pair(names: &[&str]) -> Arc<CertifiedKey> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = angarium_stdlib::tls::provider();
    let pair = CertifiedKey::from_der(vec![made.cert.der().clone()], key, provider);
    Arc::new(pair.expect("a pair"))
}

/// TLS of a server.
pub fn tls(pair: &Arc<CertifiedKey>) -> Arc<ServerConfig> {
    let provider = Arc::clone(angarium_stdlib::tls::provider());
    let resolver = rustls::sign::SingleCertAndKey::from(Arc::clone(pair));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    Arc::new(config)
}

/// The server's end of TLS on a connection.
pub fn secured(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
) -> StreamOwned<ServerConnection, TcpStream> {
    let connection = ServerConnection::new(Arc::clone(config)).expect("a connection");
    StreamOwned::new(connection, stream)
}

/// A request as it came: head and body.
pub struct Request {
    pub line: String,
    pub head: String,
    pub body: Vec<u8>,
}

/// Reads a request.
pub fn request(stream: &mut impl Read) -> Option<Request> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    let mut line = String::new();
    loop {
        let start = head.len();
        stream
            .read_line(&mut head)
            .ok()
            .filter(|count| *count > 0)?;
        if line.is_empty() {
            line = head.trim_end().to_owned();
        }
        if head[start..].trim_end().is_empty() {
            break;
        }
    }
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    let mut body = Vec::new();
    if let Some(length) = field("content-length") {
        let length: usize = length.parse().ok()?;
        body.resize(length, 0);
        stream.read_exact(&mut body).ok()?;
    } else if field("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim_end(), 16).ok()?;
            let mut piece = vec![0; size + 2];
            stream.read_exact(&mut piece).ok()?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&piece[..size]);
        }
    }
    Some(Request { line, head, body })
}

/// Answers by the path of the request.
pub fn answer(stream: &mut (impl Read + Write)) {
    let Some(request) = request(stream) else {
        return;
    };
    let target = request
        .line
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .to_owned();
    let path = target.split('?').next().unwrap_or_default();
    let plain = |status: &str, more: &str, body: &[u8]| {
        let length = body.len();
        let mut all =
            format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\n\r\n").into_bytes();
        all.extend_from_slice(body);
        all
    };
    let reply = match path {
        "/line" => plain("200 OK", "", request.line.as_bytes()),
        "/head" => plain("200 OK", "", request.head.as_bytes()),
        "/body" => plain("200 OK", "", &request.body),
        "/length" => plain("200 OK", "", request.body.len().to_string().as_bytes()),
        "/missing" => plain(
            "404 Not Found",
            "X-Odd-Case: Yes\r\nx-second: 2\r\n",
            b"nothing",
        ),
        "/moved" => plain("302 Found", "Location: /line?moved\r\n", b""),
        "/kept" => plain("307 Temporary Redirect", "Location: /body\r\n", b""),
        "/loop" => plain("301 Moved", "Location: loop\r\n", b""),
        "/away" => plain("302 Found", "Location: gopher://a/\r\n", b""),
        "/slow" => {
            thread::sleep(Duration::from_secs(3));
            plain("200 OK", "", b"late")
        }
        "/chunked" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
                .to_vec()
        }
        "/early" => {
            let mut all = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".to_vec();
            all.extend(plain("200 OK", "A: 1\r\n", b"body"));
            all
        }
        "/until-close" => b"HTTP/1.0 200 OK\r\n\r\nall of it".to_vec(),
        "/short" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc".to_vec(),
        "/nonsense" => b"220 mail.example ESMTP\r\n".to_vec(),
        "/big" => plain("200 OK", "", &vec![b'x'; 1 << 20]),
        _ => plain("500 Oops", "", b""),
    };
    let _ = stream.write_all(&reply);
    let _ = stream.flush();
}

/// A web server.
pub fn web() -> u16 {
    serve(|mut stream| answer(&mut stream))
}
