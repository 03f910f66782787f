//! The class `Socket`: streams and datagrams of a script's own. A call that has to wait suspends the script.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use angarium_effects::Clock;
use angarium_effects::clock::timeout;
use angarium_effects::socket::{Address, Family, Kind, Socket as Raw};
use angarium_runtime::convert::to_str;
use angarium_runtime::native::{Args, ClassDecl, Cx, FnDecl, Outcome, Task, Throw, opt};
use angarium_runtime::object::{NativeObject, Object, Resource};
use angarium_runtime::string::MAX_STRING;
use angarium_runtime::value::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::file::budget;
use crate::network::{Seat, network, seat};
use crate::wait::{ready as done, then};

/// Bytes that one call receives at most, unless it waits for all of them.
const PIECE: usize = 64 * 1024;

/// Numbers of the system's errors that arise here and not there.
pub(crate) mod errno {
    pub const EAGAIN: i32 = 11;
    pub const EBADF: i32 = 9;
    pub const EIO: i32 = 5;
    pub const EINVAL: i32 = 22;
    pub const EOPNOTSUPP: i32 = 95;
    pub const EAFNOSUPPORT: i32 = 97;
    pub const ETIMEDOUT: i32 = 110;
}

/// The class `Socket`.
pub const SOCKET: ClassDecl = ClassDecl {
    constructor: FnDecl::plain(
        "Socket(family: string, type: string)",
        "Makes a socket of the family AF_INET, AF_INET6 or AF_UNIX and the type SOCK_STREAM or SOCK_DGRAM; other names \
         raise an Exception. What fails later gives none, and errno() tells why. An execution can have 128 sockets open at \
         once.",
        open,
    )
    .example("Socket(\"AF_INET\", \"SOCK_STREAM\")->recv(1) // none"),
    extends: None,
    methods: &[
        FnDecl::plain(
            "bind(address: string, port?: number, options?: array): Socket|none",
            "Gives the socket an address of this machine: an IP address and port, or a path for AF_UNIX.",
            bind,
        )
        .options(&[opt("nonlocal", "boolean", "false", "allow an address that is not this machine's")])
        .example("Socket(\"AF_INET\", \"SOCK_DGRAM\")->bind(\"no address\") // none"),
        FnDecl::plain(
            "close(): Socket|none",
            "Closes the socket; none when it was closed already. A socket that nothing refers to closes by itself.",
            |_, args| {
                let state = state(&args)?;
                let open = state.socket.take();
                state.seat.take();
                Ok(outcome(&args, &state, open.map(drop).ok_or_else(closed)))
            },
        ),
        FnDecl::task(
            "connect(address: string, port?: number): Socket|none",
            "Connects to an IP address and port, or to a path for AF_UNIX. Names are not resolved.",
            connect,
        ),
        FnDecl::plain(
            "errno(): number",
            "Gives the system's number of the error of the last call, 0 when it succeeded. A call whose time was up has \
             110 (ETIMEDOUT).",
            |_, args| Ok(f64::from(state(&args)?.errno.get()).into()),
        )
        .example("Socket(\"AF_INET\", \"SOCK_STREAM\")->errno() // 0"),
        FnDecl::task(
            "recv(length: number, flags?: array|string): string|none",
            "Receives up to `length` bytes, at most 65536 unless MSG_WAITALL waits for all of them. Gives an empty string \
             when the peer sends no more. The flags are MSG_PEEK, MSG_WAITALL and MSG_DONTWAIT.",
            recv,
        ),
        FnDecl::task(
            "send(data: string): number|none",
            "Sends data, on a stream all of it, and gives the number of bytes.",
            send,
        ),
        FnDecl::plain(
            "settimeout(timeout: number): Socket",
            "Limits every later call to so many seconds; 0 means no limit, as at first.",
            set_timeout,
        ),
        FnDecl::plain(
            "shutdown(how: string): Socket|none",
            "Ends a direction of a connection: SHUT_RD, SHUT_WR or SHUT_RDWR. Another name raises an Exception.",
            shutdown,
        ),
        FnDecl::plain(
            "toFFIValue(): FFIValue|none",
            "Gives the descriptor to foreign functions. There are none here: raises an Exception.",
            |_, _| Err(Throw::error("FFI is disabled")),
        ),
    ],
    statics: &[
        FnDecl::plain(
            "AF(address: string): string|none",
            "Gives the family of an IP address, \"AF_INET\" or \"AF_INET6\"; none for anything else.",
            |_, args| {
                let address: Option<IpAddr> = text(args.bytes(0)).parse().ok();
                Ok(address.map_or(Value::None, |address| match address {
                    IpAddr::V4(_) => "AF_INET".into(),
                    IpAddr::V6(_) => "AF_INET6".into(),
                }))
            },
        )
        .example("Socket::AF(\"::1\") // \"AF_INET6\""),
        FnDecl::plain(
            "Resource(socket: SocketResource): Socket|none",
            "Makes a Socket of a socket that the host or a plugin has opened; none when it was taken before.",
            from_resource,
        )
        .since(">5.5"),
    ],
};

/// What a socket is; futures hold it too.
pub(crate) struct State {
    socket: RefCell<Option<Rc<dyn Raw>>>,
    family: Family,
    kind: Kind,
    timeout: Cell<Option<Duration>>,
    errno: Cell<i32>,
    seat: Cell<Option<Seat>>,
}

struct Socket(Rc<State>);

impl NativeObject for Socket {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// A socket that somebody else has opened, for `Socket::Resource`.
struct SocketResource(Mutex<Option<OwnedFd>>, Family, Kind);

/// A `SocketResource` of an open socket.
#[must_use]
pub fn resource(socket: OwnedFd, family: Family, kind: Kind) -> Value {
    let resource = SocketResource(Mutex::new(Some(socket)), family, kind);
    Value::Resource(Rc::new(Resource::new("SocketResource", Arc::new(resource))))
}

/// The state of a socket object.
pub(crate) fn state_of(object: &Object) -> Option<Rc<State>> {
    object
        .downcast::<Socket>()
        .map(|socket| Rc::clone(&socket.0))
}

fn state(args: &Args<'_>) -> Result<Rc<State>, Throw> {
    Ok(Rc::clone(&args.this::<Socket>()?.0))
}

impl State {
    /// The open socket.
    ///
    /// # Errors
    /// EBADF once it is closed.
    pub(crate) fn raw(&self) -> io::Result<Rc<dyn Raw>> {
        self.socket.borrow().clone().ok_or_else(closed)
    }

    /// Gives the future's result, or ETIMEDOUT when the time of a call is up.
    pub(crate) async fn within<T>(
        &self,
        clock: &dyn Clock,
        future: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        match self.timeout.get() {
            None => future.await,
            Some(limit) => match timeout(clock, limit, future).await {
                Some(result) => result,
                None => Err(io::Error::from_raw_os_error(errno::ETIMEDOUT)),
            },
        }
    }
}

fn closed() -> io::Error {
    io::Error::from_raw_os_error(errno::EBADF)
}

/// The system's number of an error.
pub(crate) fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::WouldBlock => errno::EAGAIN,
        io::ErrorKind::TimedOut => errno::ETIMEDOUT,
        io::ErrorKind::InvalidInput => errno::EINVAL,
        io::ErrorKind::Unsupported => errno::EOPNOTSUPP,
        _ => errno::EIO,
    })
}

/// Keeps the number of the error, if there is one.
fn note<T>(state: &State, result: io::Result<T>) -> Option<T> {
    let (value, error) = match result {
        Ok(value) => (Some(value), 0),
        Err(error) => (None, number(&error)),
    };
    state.errno.set(error);
    value
}

/// The socket itself, or none after an error.
fn outcome<T>(args: &Args<'_>, state: &State, result: io::Result<T>) -> Value {
    match (note(state, result), args.this) {
        (Some(_), Some(this)) => Value::Object(Rc::clone(this)),
        _ => Value::None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn open(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let family = match args.bytes(0) {
        b"AF_INET" => Family::Inet,
        b"AF_INET6" => Family::Inet6,
        b"AF_UNIX" => Family::Unix,
        other => {
            return Err(Throw::error(format!(
                "Socket: {} is none of AF_INET, AF_INET6, AF_UNIX",
                text(other)
            )));
        }
    };
    let kind = match args.bytes(1) {
        b"SOCK_STREAM" => Kind::Stream,
        b"SOCK_DGRAM" => Kind::Datagram,
        other => {
            return Err(Throw::error(format!(
                "Socket: {} is neither SOCK_STREAM nor SOCK_DGRAM",
                text(other)
            )));
        }
    };
    let network = network(cx, "Socket")?;
    cx.charge(200);
    let seat = seat(cx).ok_or_else(|| Throw::error("Socket: too many open sockets"))?;
    let socket = network
        .net
        .socket(family, kind)
        .map_err(|error| Throw::error(format!("Socket: {error}")))?;
    object(cx, socket, family, kind, seat)
}

fn object(cx: &Cx<'_>, socket: Rc<dyn Raw>, family: Family, kind: Kind, seat: Seat) -> Outcome {
    let class = cx
        .library
        .class_named("Socket")
        .ok_or_else(|| Throw::error("there are no sockets here"))?;
    let state = State {
        socket: RefCell::new(Some(socket)),
        family,
        kind,
        timeout: Cell::default(),
        errno: Cell::default(),
        seat: Cell::new(Some(seat)),
    };
    Ok(Value::Object(Object::new(class, Socket(Rc::new(state)))))
}

fn from_resource(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Value::Resource(resource) = args.get(0) else {
        return Ok(Value::None);
    };
    let Some(resource) = resource.downcast::<SocketResource>() else {
        return Ok(Value::None);
    };
    let network = network(cx, "Socket::Resource")?;
    let taken = resource
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let (Some(socket), Some(seat)) = (taken, seat(cx)) else {
        return Ok(Value::None);
    };
    match network.net.adopt(socket) {
        Ok(socket) => object(cx, socket, resource.1, resource.2, seat),
        Err(_) => Ok(Value::None),
    }
}

/// The address in the first two arguments.
fn address(args: &Args<'_>, family: Family) -> io::Result<Address> {
    let number = io::Error::from_raw_os_error;
    if family == Family::Unix {
        use std::os::unix::ffi::OsStrExt as _;
        let path = std::ffi::OsStr::from_bytes(args.bytes(0));
        let breaks = |byte: &u8| matches!(byte, 0 | b'\r' | b'\n');
        if path.is_empty() || args.bytes(0).iter().any(breaks) {
            return Err(number(errno::EINVAL));
        }
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    let port = args.number(1, 0.0);
    if !(0.0..=65535.0).contains(&port) {
        return Err(number(errno::EINVAL));
    }
    let address: IpAddr = text(args.bytes(0))
        .parse()
        .map_err(|_| number(errno::EINVAL))?;
    if address.is_ipv4() != (family == Family::Inet) {
        return Err(number(errno::EAFNOSUPPORT));
    }
    Ok(Address::Inet(SocketAddr::new(address, port as u16)))
}

fn bind(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    cx.charge(100);
    let state = state(&args)?;
    let nonlocal = args.options(2).boolean("nonlocal", false);
    let bound = state.raw().and_then(|socket| {
        let at = address(&args, state.family)?;
        socket.bind(&at, nonlocal)
    });
    Ok(outcome(&args, &state, bound))
}

fn connect(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    cx.charge(100);
    let state = state(&args)?;
    let found = state
        .raw()
        .and_then(|socket| Ok((socket, address(&args, state.family)?)));
    let (socket, to) = match found {
        Ok(found) => found,
        Err(error) => return Ok(done(outcome::<()>(&args, &state, Err(error)))),
    };
    let this = args.this.map(Rc::clone);
    let clock = Rc::clone(&cx.host.clock);
    let of_call = Rc::clone(&state);
    let connecting = async move { of_call.within(&*clock, socket.connect(to)).await };
    Ok(then(connecting, move |_, result| {
        let this = this.map_or(Value::None, Value::Object);
        Ok(note(&state, result).map_or(Value::None, |()| this))
    }))
}

/// What the flags of `recv` say.
#[derive(Clone, Copy, Default)]
struct Flags {
    peek: bool,
    wait_all: bool,
    dont_wait: bool,
}

impl Flags {
    fn read(value: &Value) -> Result<Flags, Throw> {
        let mut flags = Flags::default();
        let mut add = |name: &[u8]| {
            match name {
                b"MSG_PEEK" => flags.peek = true,
                b"MSG_WAITALL" => flags.wait_all = true,
                b"MSG_DONTWAIT" => flags.dont_wait = true,
                other => {
                    return Err(Throw::error(format!(
                        "recv: {} is none of MSG_PEEK, MSG_WAITALL, MSG_DONTWAIT",
                        text(other)
                    )));
                }
            }
            Ok(())
        };
        match value {
            Value::None => {}
            Value::Array(_) => {
                for name in value.as_array().into_iter().flat_map(|list| list.values()) {
                    add(to_str(&name).as_bytes())?;
                }
            }
            name => add(to_str(name).as_bytes())?,
        }
        Ok(flags)
    }
}

/// What receiving came to.
enum Received {
    Bytes(Vec<u8>),
    /// More than the script may hold.
    TooLong,
}

fn recv(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    cx.charge(100);
    let state = state(&args)?;
    let flags = Flags::read(args.get(1))?;
    let socket = match (state.raw(), usize::try_from(args.integer(0, 0))) {
        (Ok(socket), Ok(1..)) => socket,
        (Ok(_), Ok(0)) => {
            state.errno.set(0);
            return Ok(done("".into()));
        }
        (Ok(_), Err(_)) => {
            state.errno.set(errno::EINVAL);
            return Ok(done(Value::None));
        }
        (Err(error), _) => {
            note::<()>(&state, Err(error));
            return Ok(done(Value::None));
        }
    };
    let length = usize::try_from(args.integer(0, 0)).unwrap_or(0);
    let clock = Rc::clone(&cx.host.clock);
    let of_call = Rc::clone(&state);
    let most = budget();
    let receiving = async move {
        let mut received = Vec::new();
        let receive = receive(&*socket, of_call.kind, length, flags, most, &mut received);
        match of_call.within(&*clock, receive).await {
            Ok(true) => Ok(Received::Bytes(received)),
            Ok(false) => Ok(Received::TooLong),
            // A call that waited for all of it gives what came when its time is up.
            Err(error) if received.is_empty() => Err(error),
            Err(error) if number(&error) == errno::ETIMEDOUT => Ok(Received::Bytes(received)),
            Err(error) => Err(error),
        }
    };
    Ok(then(receiving, move |cx, result| {
        match note(&state, result) {
            None => Ok(Value::None),
            Some(Received::Bytes(bytes)) => {
                cx.reserve(bytes.len())?;
                Ok(bytes.into())
            }
            Some(Received::TooLong) => Err(too_long(most)),
        }
    }))
}

/// Why nothing longer than `most` can be received.
pub(crate) fn too_long(most: usize) -> Throw {
    if most < MAX_STRING {
        Throw::limit("memory")
    } else {
        Throw::error("string too long")
    }
}

/// Receives into `received`; false when that is more than `most`.
async fn receive(
    socket: &dyn Raw,
    kind: Kind,
    length: usize,
    flags: Flags,
    most: usize,
    received: &mut Vec<u8>,
) -> io::Result<bool> {
    let mut piece = vec![0; length.min(PIECE)];
    loop {
        let room = length.saturating_sub(received.len()).min(piece.len());
        let buffer = piece.get_mut(..room).unwrap_or_default();
        let read = if flags.dont_wait {
            socket.recv_now(buffer, flags.peek)
        } else {
            poll_fn(|context| socket.poll_recv(context, buffer, flags.peek)).await
        };
        let count = match read {
            Ok(count) => count,
            // What came before it is not lost.
            Err(error) if !received.is_empty() && error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        received.extend_from_slice(piece.get(..count).unwrap_or_default());
        if received.len() > most {
            return Ok(false);
        }
        let more = flags.wait_all && kind == Kind::Stream && !flags.peek && count > 0;
        if !more || received.len() >= length {
            return Ok(true);
        }
    }
}

fn send(cx: &mut Cx<'_>, mut args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let state = state(&args)?;
    let Value::String(data) = args.take(0) else {
        return Err(Throw::error("send: data is missing"));
    };
    cx.charge(100 + data.len() / 64);
    let clock = Rc::clone(&cx.host.clock);
    // The last hold on the data is the script's, so that it is released under its account.
    let (of_call, kept) = (Rc::clone(&state), data.clone());
    let sending = async move {
        let socket = of_call.raw()?;
        of_call
            .within(&*clock, send_all(&*socket, of_call.kind, data.as_bytes()))
            .await
    };
    Ok(then(sending, move |_, result| {
        let count = note(&state, result);
        drop(kept);
        Ok(count.map_or(Value::None, Value::from))
    }))
}

async fn send_all(socket: &dyn Raw, kind: Kind, data: &[u8]) -> io::Result<usize> {
    if kind == Kind::Datagram {
        return poll_fn(|context| socket.poll_send(context, data)).await;
    }
    let mut sent = 0;
    while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
        sent += poll_fn(|context| socket.poll_send(context, rest)).await?;
    }
    Ok(sent)
}

fn set_timeout(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let seconds = args.number(0, 0.0);
    if seconds.is_nan() || seconds < 0.0 {
        return Err(Throw::error(
            "settimeout: timeout must be a number of seconds",
        ));
    }
    // A century is more than any wait needs and keeps all sums in range.
    let limit = Duration::from_secs_f64(seconds.min(3_153_600_000.0));
    let state = state(&args)?;
    state
        .timeout
        .set(Some(limit).filter(|limit| !limit.is_zero()));
    Ok(args
        .this
        .map_or(Value::None, |this| Value::Object(Rc::clone(this))))
}

fn shutdown(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    cx.charge(100);
    let how = match args.bytes(0) {
        b"SHUT_RD" => Shutdown::Read,
        b"SHUT_WR" => Shutdown::Write,
        b"SHUT_RDWR" => Shutdown::Both,
        other => {
            return Err(Throw::error(format!(
                "shutdown: {} is none of SHUT_RD, SHUT_WR, SHUT_RDWR",
                text(other)
            )));
        }
    };
    let state = state(&args)?;
    let result = state.raw().and_then(|socket| socket.shutdown(how));
    Ok(outcome(&args, &state, result))
}

/// The bytes of a socket as a stream, for TLS. Shutting it down leaves the socket open.
pub(crate) struct Bytes(pub Rc<State>);

impl AsyncRead for Bytes {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.0.raw()?;
        let count = ready!(socket.poll_recv(context, buffer.initialize_unfilled(), false))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bytes {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.raw()?.poll_send(context, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
