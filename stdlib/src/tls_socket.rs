//! The class `TLSSocket`: TLS over a connected [`Socket`](crate::socket).
//!
//! Errors have OpenSSL's numbers (SSL_get_error): 0 none, 1 of the protocol, 2 nothing came in time, 3 nothing could be
//! sent in time, 5 of the socket, 6 closed by the peer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use angarium_runtime::array::Array;
use angarium_runtime::convert::to_str;
use angarium_runtime::native::{Args, ClassDecl, Cx, FnDecl, Options, Outcome, Task, Throw, opt};
use angarium_runtime::object::{NativeObject, Object};
use angarium_runtime::value::Value;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::network::network;
use crate::socket::{Bytes, State, errno, number, state_of};
use crate::tls::{self, TlsError, TlsOptions, server_name};
use crate::wait::{ready, then};
use crate::x509;

/// Bytes that one call receives at most.
const PIECE: usize = 64 * 1024;

/// OpenSSL's numbers.
mod ssl {
    pub const NONE: u32 = 0;
    pub const SSL: u32 = 1;
    pub const WANT_READ: u32 = 2;
    pub const WANT_WRITE: u32 = 3;
    pub const SYSCALL: u32 = 5;
    pub const ZERO_RETURN: u32 = 6;
}

/// The class `TLSSocket`.
pub const TLS_SOCKET: ClassDecl = ClassDecl {
    constructor: FnDecl::plain(
        "TLSSocket(socket: Socket, options?: array)",
        "Puts TLS over a connected socket, whose time limit holds here too. Nothing of the peer is verified unless the \
         options say so. An option that leaves no version or cipher makes the handshake fail; an unknown key pair raises an \
         Exception.",
        open,
    )
    .options(&[
        opt("tls_protocols", "string", "!SSLv2,!SSLv3", "versions, of which TLSv1.2 and TLSv1.3 exist here"),
        opt("tls_ciphers", "string", "", "cipher list in OpenSSL's words"),
        opt("tls_verify_name", "array", "", "names of which the certificate must have one"),
        opt("tls_verify_ca", "boolean", "false", "verify the chain; of a server: want certificates of clients"),
        opt("tls_default_ca", "boolean", "false", "trust the system's certificate authorities"),
        opt("tls_sni", "string", "", "the name that the peer is told"),
        opt("tls_client_cert", "string|array", "", "id of the key pair to show, or an array of x509, privatekey and chain"),
        opt("server", "boolean", "false", "do the server's side of the handshake"),
    ]),
    extends: None,
    methods: &[
        FnDecl::task("handshake(): TLSSocket|none", "Does the handshake; none when it fails.", handshake),
        FnDecl::task(
            "recv(length: number): string|none",
            "Receives up to `length` bytes, at most 65536. Gives an empty string when the peer has closed TLS.",
            recv,
        ),
        FnDecl::task("send(data: string): number|none", "Sends all of the data and gives the number of bytes.", send),
        FnDecl::task(
            "shutdown(): number|none",
            "Closes TLS. The first call says so to the peer and gives 0, or 1 when the peer had closed before; another one \
             waits for the peer and gives 1. The socket stays open.",
            shutdown,
        ),
        FnDecl::plain(
            "errno(): number",
            "Gives the number of the error of the last call: 0 none, 1 TLS, 2 or 3 the time was up receiving or sending, \
             5 the socket, 6 closed by the peer.",
            |_, args| Ok(args.this::<TlsSocket>()?.state.errno.get().into()),
        ),
        FnDecl::plain(
            "getpeerx509(): X509|none",
            "Gives the peer's certificate; none before the handshake and when it showed none.",
            |cx, args| match args.this::<TlsSocket>()?.state.certificate() {
                Some(certificate) => x509::object(cx, certificate),
                None => Ok(Value::None),
            },
        )
        .since("5.1"),
        FnDecl::plain(
            "toSocket(): Socket",
            "Gives the socket below, to go on in clear after TLS was closed.",
            |_, args| Ok(Value::Object(Rc::clone(&args.this::<TlsSocket>()?.socket))),
        )
        .since(">5.5"),
        FnDecl::plain(
            "getpeercert(options?: array): array",
            "Older form of getpeerx509: subject, issuer, subject_alt_name, version, serial_number, not_valid_before, \
             not_valid_after and, if asked for, fingerprint. Empty without a certificate.",
            |cx, args| {
                let hash = args.options(0).string("fingerprint");
                match args.this::<TlsSocket>()?.state.certificate() {
                    Some(certificate) => x509::summary(cx, &certificate, hash.as_ref()),
                    None => Ok(Array::new().into()),
                }
            },
        )
        .options(&[opt("fingerprint", "string", "", "md5, sha1, sha256 or sha512")])
        .legacy(),
    ],
    statics: &[],
};

enum Role {
    Client(Arc<ClientConfig>, ServerName<'static>),
    Server(Arc<ServerConfig>),
    /// The options cannot be had.
    Impossible,
}

struct Tls {
    below: Rc<State>,
    role: Role,
    stream: RefCell<Option<TlsStream<Bytes>>>,
    errno: Cell<u32>,
    /// The peer has closed TLS.
    ended: Cell<bool>,
    /// We have.
    closed: Cell<bool>,
}

struct TlsSocket {
    state: Rc<Tls>,
    socket: Rc<Object>,
}

impl NativeObject for TlsSocket {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn held(&self) -> usize {
        // rustls keeps buffers and keys for a connection.
        48 * 1024
    }
}

fn open(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let socket = args.get(0).as_object().map(Rc::clone);
    let (Some(socket), Some(below)) = (socket.clone(), socket.as_deref().and_then(state_of)) else {
        return Err(Throw::error("TLSSocket: a Socket is needed"));
    };
    let options = args.options(1);
    let network = network(cx, "TLSSocket")?;
    let tls = TlsOptions {
        certificate: tls::certificate("TLSSocket", &options, &*network.names)?,
        ..read(&options)
    };
    let sni = options.string("tls_sni").filter(|name| !name.is_empty());
    let role = if options.boolean("server", false) {
        tls.server().map(Role::Server)
    } else {
        let name = sni.as_ref().map(|name| name.to_text().into_owned());
        let host = server_name(name.as_deref().unwrap_or_default());
        tls.client(sni.is_some())
            .map(|config| Role::Client(config, host))
    };
    // A bad list is an operational failure: the handshake says so.
    let role = role.unwrap_or_else(|_: TlsError| Role::Impossible);
    cx.charge(1000);
    let class = cx
        .library
        .class_named("TLSSocket")
        .ok_or_else(|| Throw::error("there are no sockets here"))?;
    let state = Rc::new(Tls {
        below,
        role,
        stream: RefCell::default(),
        errno: Cell::default(),
        ended: Cell::default(),
        closed: Cell::default(),
    });
    Ok(Value::Object(Object::new(
        class,
        TlsSocket { state, socket },
    )))
}

fn read(options: &Options<'_>) -> TlsOptions {
    let text = |name: &str| Some(options.string(name)?.to_text().into_owned());
    let names = options.get("tls_verify_name").map(|names| {
        let names = names
            .as_array()
            .into_iter()
            .flat_map(|names| names.values());
        names
            .map(|name| to_str(&name).to_text().into_owned())
            .collect()
    });
    TlsOptions {
        protocols: text("tls_protocols"),
        ciphers: text("tls_ciphers"),
        verify_chain: options.boolean("tls_verify_ca", false),
        system_roots: options.boolean("tls_default_ca", false),
        names,
        certificate: None,
    }
}

impl Tls {
    fn certificate(&self) -> Option<Vec<u8>> {
        let stream = self.stream.borrow();
        let (_, connection) = stream.as_ref()?.get_ref();
        Some(connection.peer_certificates()?.first()?.to_vec())
    }

    /// Keeps the number of the error, if there is one; `late` is what stands for a time that was up.
    fn note<T>(&self, result: io::Result<T>, late: u32) -> Option<T> {
        let (value, error) = match result {
            Ok(value) => (Some(value), ssl::NONE),
            Err(error) if number(&error) == errno::ETIMEDOUT => (None, late),
            Err(error) => {
                let of_tls = error
                    .get_ref()
                    .is_some_and(|inner| inner.is::<rustls::Error>());
                let number = if of_tls { ssl::SSL } else { ssl::SYSCALL };
                (None, number)
            }
        };
        self.errno.set(error);
        value
    }

    async fn handshake(&self) -> io::Result<()> {
        if self.stream.borrow().is_some() {
            return Ok(());
        }
        let bytes = Bytes(Rc::clone(&self.below));
        let stream: TlsStream<Bytes> = match &self.role {
            Role::Client(config, host) => {
                let connector = TlsConnector::from(Arc::clone(config));
                connector.connect(host.clone(), bytes).await?.into()
            }
            Role::Server(config) => {
                let acceptor = TlsAcceptor::from(Arc::clone(config));
                acceptor.accept(bytes).await?.into()
            }
            Role::Impossible => return Err(protocol()),
        };
        self.stream.replace(Some(stream));
        Ok(())
    }

    /// Up to `length` bytes; none of them when the peer has closed.
    async fn receive(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length.min(PIECE)];
        let mut buffer = ReadBuf::new(&mut bytes);
        poll_fn(|context| {
            let mut stream = self.stream.borrow_mut();
            let stream = stream.as_mut().ok_or_else(protocol)?;
            Pin::new(stream).poll_read(context, &mut buffer)
        })
        .await?;
        let count = buffer.filled().len();
        bytes.truncate(count);
        bytes.shrink_to_fit();
        if count == 0 {
            self.ended.set(true);
        }
        Ok(bytes)
    }

    async fn send(&self, data: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
            let count = poll_fn(|context| {
                let mut stream = self.stream.borrow_mut();
                let stream = stream.as_mut().ok_or_else(protocol)?;
                Pin::new(stream).poll_write(context, rest)
            });
            match count.await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => sent += count,
            }
        }
        poll_fn(|context| {
            let mut stream = self.stream.borrow_mut();
            let stream = stream.as_mut().ok_or_else(protocol)?;
            Pin::new(stream).poll_flush(context)
        })
        .await?;
        Ok(sent)
    }

    /// Whether both directions are closed.
    async fn close(&self) -> io::Result<bool> {
        if !self.closed.get() {
            poll_fn(|context| {
                let mut stream = self.stream.borrow_mut();
                let stream = stream.as_mut().ok_or_else(protocol)?;
                Pin::new(stream).poll_shutdown(context)
            })
            .await?;
            self.closed.set(true);
            return Ok(self.ended.get());
        }
        // What still comes is of no more use.
        while !self.ended.get() {
            self.receive(PIECE).await?;
        }
        Ok(true)
    }
}

/// Before the handshake there is no TLS.
fn protocol() -> io::Error {
    io::Error::other(rustls::Error::HandshakeNotComplete)
}

fn state(args: &Args<'_>) -> Result<Rc<Tls>, Throw> {
    Ok(Rc::clone(&args.this::<TlsSocket>()?.state))
}

fn handshake(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    // A handshake takes about a millisecond.
    cx.charge(10_000);
    let state = state(&args)?;
    let this = args.this.map(Rc::clone);
    let clock = Rc::clone(&cx.host.clock);
    let of_call = Rc::clone(&state);
    let work = async move { of_call.below.within(&*clock, of_call.handshake()).await };
    Ok(then(work, move |_, result| {
        let this = this.map_or(Value::None, Value::Object);
        let done = state.note(result, ssl::WANT_READ);
        Ok(done.map_or(Value::None, |()| this))
    }))
}

fn recv(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    cx.charge(200);
    let state = state(&args)?;
    let length = match usize::try_from(args.integer(0, 0)) {
        Ok(0) => {
            state.errno.set(ssl::NONE);
            return Ok(ready("".into()));
        }
        Ok(length) => length,
        Err(_) => {
            state.errno.set(ssl::SSL);
            return Ok(ready(Value::None));
        }
    };
    cx.fits(length.min(PIECE))?;
    let clock = Rc::clone(&cx.host.clock);
    let of_call = Rc::clone(&state);
    let work = async move { of_call.below.within(&*clock, of_call.receive(length)).await };
    Ok(then(work, move |cx, result| {
        match state.note(result, ssl::WANT_READ) {
            None => Ok(Value::None),
            Some(bytes) => {
                if bytes.is_empty() {
                    state.errno.set(ssl::ZERO_RETURN);
                }
                cx.reserve(bytes.len())?;
                Ok(bytes.into())
            }
        }
    }))
}

fn send(cx: &mut Cx<'_>, mut args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let state = state(&args)?;
    let Value::String(data) = args.take(0) else {
        return Err(Throw::error("send: data is missing"));
    };
    cx.charge(200 + data.len() / 16);
    let clock = Rc::clone(&cx.host.clock);
    // The last hold on the data is the script's, so that it is released under its account.
    let (of_call, kept) = (Rc::clone(&state), data.clone());
    let work = async move {
        let sending = of_call.send(data.as_bytes());
        of_call.below.within(&*clock, sending).await
    };
    Ok(then(work, move |_, result| {
        let count = state.note(result, ssl::WANT_WRITE);
        drop(kept);
        Ok(count.map_or(Value::None, Value::from))
    }))
}

fn shutdown(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    cx.charge(200);
    let state = state(&args)?;
    let clock = Rc::clone(&cx.host.clock);
    let of_call = Rc::clone(&state);
    let work = async move { of_call.below.within(&*clock, of_call.close()).await };
    Ok(then(work, move |_, result| {
        let both = state.note(result, ssl::WANT_READ);
        Ok(both.map_or(Value::None, |both| f64::from(u8::from(both)).into()))
    }))
}
