//! Scripts and files of a bundle as the MTA receives them: text, and where it came from.

use std::fmt;
use std::sync::Arc;

use crate::types::Id;

/// The point of a session or delivery at which a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookType {
    /// A client has connected.
    Connect,
    /// A command line has come in.
    Proxy,
    /// HELO or EHLO.
    Helo,
    /// AUTH.
    Auth,
    /// MAIL.
    MailFrom,
    /// RCPT.
    RcptTo,
    /// The message is complete.
    Eod,
    /// The connection has ended.
    Disconnect,
    /// A delivery is about to be attempted.
    PreDelivery,
    /// A delivery has been attempted.
    PostDelivery,
}

impl HookType {
    /// The hooks of a session, in the order in which they run.
    pub const SESSION: [Self; 8] = [
        Self::Connect,
        Self::Proxy,
        Self::Helo,
        Self::Auth,
        Self::MailFrom,
        Self::RcptTo,
        Self::Eod,
        Self::Disconnect,
    ];

    /// The hooks of the queue.
    pub const QUEUE: [Self; 2] = [Self::PreDelivery, Self::PostDelivery];

    /// The name in configuration keys, folder names and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Proxy => "proxy",
            Self::Helo => "helo",
            Self::Auth => "auth",
            Self::MailFrom => "mailfrom",
            Self::RcptTo => "rcptto",
            Self::Eod => "eod",
            Self::Disconnect => "disconnect",
            Self::PreDelivery => "predelivery",
            Self::PostDelivery => "postdelivery",
        }
    }

    /// The hook of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::SESSION
            .into_iter()
            .chain(Self::QUEUE)
            .find(|hook| hook.name() == name)
    }
}

impl fmt::Display for HookType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text of a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What runs it.
    pub hook: HookType,
    /// Its id; the hook's name for predelivery and postdelivery.
    pub id: Id,
    /// The script.
    pub text: Arc<str>,
    /// The name of the file for messages: the real path in a source tree, `hooks/TYPE/ID.hsl` for
    /// a script that came out of a packed `smtpd-app.yaml`.
    pub file: Arc<str>,
}

/// A file of the bundle, for `include`, `import` and `File()`.
#[derive(Clone, PartialEq, Eq)]
pub struct VirtualFile {
    /// The content.
    pub data: Arc<[u8]>,
    /// The name of the file for messages: the real path in a source tree, else the id.
    pub file: Arc<str>,
}

impl fmt::Debug for VirtualFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualFile({}, {} bytes)", self.file, self.data.len())
    }
}
