//! What a client machine has to know, and the names of its states (hooks.md, group STATES).

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// Settings of one connection.
#[derive(Debug, Clone)]
pub struct Config {
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// The name to greet with.
    pub helo: String,
    /// STARTTLS.
    pub tls: TlsMode,
    /// Attributes for XCLIENT, names in upper case; those that the server announces are sent, before AUTH.
    pub xclient: Vec<(String, String)>,
    /// AUTH before the first message.
    pub auth: Option<Credentials>,
    /// Send MAIL, RCPT and DATA in one write where the server allows it.
    pub pipelining: bool,
    /// Time limits.
    pub timeouts: Timeouts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            protocol: Protocol::Smtp,
            helo: "localhost".to_owned(),
            tls: TlsMode::Optional,
            xclient: Vec::new(),
            auth: None,
            pipelining: true,
            timeouts: Timeouts::default(),
        }
    }
}

/// The dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: LHLO, and one reply for each recipient after the message.
    Lmtp,
}

/// When to use STARTTLS. What a certificate has to prove is the driver's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// If offered; if refused go on in clear.
    Optional,
    /// Or else no message is sent.
    Required,
}

/// For AUTH.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// The way; none: the best that the server announces.
    pub mechanism: Option<Mechanism>,
}

/// A SASL mechanism (RFC 4422); the first that the server announces is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 2195: the password is not sent.
    CramMd5,
    /// RFC 4616.
    Plain,
    /// The older way of PLAIN.
    Login,
}

impl Mechanism {
    /// All, the best first.
    pub(super) const ALL: [Self; 3] = [Self::CramMd5, Self::Plain, Self::Login];

    /// The name that servers announce.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CramMd5 => "CRAM-MD5",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

impl std::fmt::Debug for Credentials {
    /// Leaves the password out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $seconds:literal;)*) => {
        /// What a reply answers; the `state` of an attempt's result and the keys of time limits.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum State {
            $($(#[$doc])* $name,)*
        }

        impl State {
            /// The name that scripts see.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The default time limit in seconds.
            const fn seconds(self) -> u64 {
                match self {
                    $(Self::$name => $seconds,)*
                }
            }

            const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

states! {
    /// The greeting of the server.
    Banner = "BANNER", 300;
    /// HELO.
    Helo = "HELO", 300;
    /// EHLO.
    Ehlo = "EHLO", 300;
    /// LHLO.
    Lhlo = "LHLO", 300;
    /// STARTTLS.
    StartTls = "STARTTLS", 120;
    /// AUTH CRAM-MD5.
    AuthCramMd5 = "AUTH-CRAM-MD5", 120;
    /// AUTH PLAIN.
    AuthPlain = "AUTH-PLAIN", 120;
    /// AUTH LOGIN.
    AuthLogin = "AUTH-LOGIN", 120;
    /// The user name of AUTH LOGIN.
    AuthLoginUser = "AUTH-LOGIN-USER", 120;
    /// The last line of an AUTH dialogue.
    Auth = "AUTH", 120;
    /// XCLIENT.
    Xclient = "XCLIENT", 120;
    /// MAIL.
    Mail = "MAIL", 300;
    /// RCPT.
    Rcpt = "RCPT", 300;
    /// DATA.
    Data = "DATA", 120;
    /// BDAT.
    Bdat = "BDAT", 600;
    /// The end of the message.
    Eod = "EOD", 600;
    /// RSET.
    Rset = "RSET", 60;
    /// NOOP.
    Noop = "NOOP", 60;
    /// QUIT.
    Quit = "QUIT", 60;
}

/// No state has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no SMTP client state")]
pub struct UnknownState(String);

impl FromStr for State {
    type Err = UnknownState;

    /// Reads a name as scripts and configuration give it; `CONNECT` is another name of `BANNER`.
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        if text == "CONNECT" {
            return Ok(Self::Banner);
        }
        Self::ALL
            .iter()
            .find(|state| state.as_str() == text)
            .copied()
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// How long to wait for each reply; the defaults are those of RFC 5321 §4.5.3.2.
#[derive(Debug, Clone)]
pub struct Timeouts {
    changed: BTreeMap<State, Duration>,
    /// For each piece of content to be taken.
    pub block: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            changed: BTreeMap::new(),
            block: Duration::from_secs(180),
        }
    }
}

impl Timeouts {
    /// Changes the limit of one state.
    pub fn set(&mut self, state: State, limit: Duration) {
        self.changed.insert(state, limit);
    }

    /// The limit of a state.
    #[must_use]
    pub fn get(&self, state: State) -> Duration {
        self.changed
            .get(&state)
            .copied()
            .unwrap_or(Duration::from_secs(state.seconds()))
    }
}
