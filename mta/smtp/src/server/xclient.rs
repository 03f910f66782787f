//! XCLIENT (Postfix, XCLIENT_README): a trusted proxy says for whom it speaks.
//!
//! The session then begins anew, with the connect hook, as if the named client had connected. Who may
//! use the command is decided once, by who did connect. Every value is checked before any is applied.

use std::net::IpAddr;

use super::event::{Hook, Output};
use super::machine::{Pending, Server, State};
use crate::session::{Auth, Helo, HeloVerb};
use crate::verdict::Verdict;
use crate::xtext;

/// The line of the EHLO reply.
pub(super) const XCLIENT: &str = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

/// A value is not known, now or ever.
const UNAVAILABLE: [&str; 2] = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"];

/// What a proxy says of its client; the inner `None` stands for a value that is not available.
#[derive(Debug, Default, PartialEq, Eq)]
struct Attributes {
    name: Option<Option<String>>,
    address: Option<IpAddr>,
    port: Option<u16>,
    protocol: Option<HeloVerb>,
    helo: Option<Option<String>>,
    login: Option<Option<String>>,
    local_address: Option<IpAddr>,
    local_port: Option<u16>,
}

impl Attributes {
    /// Reads `NAME=value` words; `None` when one is malformed, unknown or said twice.
    fn parse(arguments: &str) -> Option<Self> {
        let mut all = Self::default();
        let mut words = arguments
            .split(' ')
            .filter(|word| !word.is_empty())
            .peekable();
        words.peek()?;
        for word in words {
            let (name, value) = word.split_once('=')?;
            let value = match UNAVAILABLE
                .iter()
                .any(|known| known.eq_ignore_ascii_case(value))
            {
                true => None,
                false => Some(text(value)?),
            };
            match name.to_ascii_uppercase().as_str() {
                "NAME" => once(&mut all.name, value)?,
                "HELO" => once(&mut all.helo, value)?,
                "LOGIN" => once(&mut all.login, value)?,
                // Without an address the client would keep the rights of the proxy.
                "ADDR" => once(&mut all.address, address(&value?)?)?,
                "PORT" => once(&mut all.port, port(value)?)?,
                "PROTO" => once(&mut all.protocol, protocol(&value?)?)?,
                "DESTADDR" => {
                    if let Some(value) = value {
                        once(&mut all.local_address, address(&value)?)?;
                    }
                }
                "DESTPORT" => once(&mut all.local_port, port(value)?)?,
                _ => return None,
            }
        }
        Some(all)
    }
}

/// Takes a value that was not given before.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// The text behind xtext: something that can stand in a log, a header and a variable.
fn text(value: &str) -> Option<String> {
    let text = String::from_utf8(xtext::decode(value)?).ok()?;
    let plain = !text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control);
    plain.then_some(text)
}

/// An IPv4 address, or an IPv6 one behind its tag.
fn address(value: &str) -> Option<IpAddr> {
    let (tag, rest) = value.split_at_checked("IPV6:".len()).unwrap_or(("", value));
    let address: IpAddr = match tag.eq_ignore_ascii_case("IPV6:") {
        true => IpAddr::V6(rest.parse().ok()?),
        false => value.parse().ok()?,
    };
    Some(address.to_canonical())
}

/// A port; 0 when it is not available.
fn port(value: Option<String>) -> Option<u16> {
    let Some(value) = value else { return Some(0) };
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|_| digits)
}

fn protocol(value: &str) -> Option<HeloVerb> {
    [("SMTP", HeloVerb::Helo), ("ESMTP", HeloVerb::Ehlo)]
        .into_iter()
        .find_map(|(name, verb)| name.eq_ignore_ascii_case(value).then_some(verb))
}

impl Server {
    /// XCLIENT
    pub(super) fn xclient(&mut self, arguments: &str) {
        if self.config.xclient.is_empty() {
            return self.fault(502, (5, 5, 1), "Command not implemented");
        }
        let greeted = matches!(&self.session.helo, Some(helo) if helo.verb != HeloVerb::Helo);
        // A helo hook may have taken it away.
        if !self.trusted_proxy || (greeted && !self.session.extensions.xclient) {
            return self.fault(550, (5, 7, 0), "You may not speak for others");
        }
        if self.session.transaction.envelope.is_some() {
            return self.fault(503, (5, 5, 1), "XCLIENT inside a transaction");
        }
        match Attributes::parse(arguments) {
            Some(attributes) => self.speak_for(attributes),
            None => self.fault(501, (5, 5, 4), "Syntax: XCLIENT attribute=value"),
        }
    }

    /// Begins the session anew for the client that was named.
    fn speak_for(&mut self, client: Attributes) {
        self.forget_greeting();
        let connection = &mut self.session.connection;
        if let Some(address) = client.address {
            connection.remote_ip = address;
            // The name of one address is not that of another.
            connection.remote_ptr = None;
        }
        if let Some(name) = client.name {
            connection.remote_ptr = name;
        }
        connection.name_lookup = None;
        connection.remote_port = client.port.unwrap_or(connection.remote_port);
        connection.local_ip = client.local_address.unwrap_or(connection.local_ip);
        connection.local_port = client.local_port.unwrap_or(connection.local_port);
        if let Some(username) = client.login.flatten() {
            self.session.auth = Some(Auth {
                mechanism: "XCLIENT".to_owned(),
                username: Some(username),
            });
        }
        // The proxy need not greet again for a client that has greeted it.
        if let Some(host) = client.helo.flatten() {
            let verb = client.protocol.unwrap_or(HeloVerb::Ehlo);
            if verb != HeloVerb::Helo {
                self.session.extensions = self.offered();
            }
            self.session.helo = Some(Helo { verb, host });
        }
        self.outputs.push_back(Output::Introduced);
        self.state = State::Hook(Pending::Connect);
        if self.config.hooks.connect {
            self.outputs.push_back(Output::Hook(Hook::Connect));
        } else {
            self.verdict(Verdict::NoHook);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_in_any_order_and_case() {
        let read = Attributes::parse(
            "addr=IPv6:2001:db8::1 NAME=[tempunavail] HELO=a+2Bb PORT=[UNAVAILABLE]  LOGIN=j+C3+B6 proto=smtp DESTADDR=192.0.2.9 DESTPORT=587",
        );
        let expected = Attributes {
            name: Some(None),
            address: "2001:db8::1".parse().ok(),
            port: Some(0),
            protocol: Some(HeloVerb::Helo),
            helo: Some(Some("a+b".to_owned())),
            login: Some(Some("j\u{f6}".to_owned())),
            local_address: "192.0.2.9".parse().ok(),
            local_port: Some(587),
        };
        assert_eq!(read, Some(expected));
    }

    #[test]
    fn one_bad_attribute_refuses_all() {
        for arguments in [
            "",
            " ",
            "NAME",
            "NAME=",
            "FOO=1",
            "NAME=a NAME=b",
            "NAME=a ADDR=x",
            "ADDR=[UNAVAILABLE]",
            "ADDR=2001:db8::1:x",
            "ADDR=IPV6:192.0.2.1",
            "PORT=65536",
            "PORT=+2B1",
            "PROTO=HTTP",
            "HELO=a+0D+0Ab",
            "LOGIN=a+00",
            "LOGIN=+FF",
            "NAME=a+zz",
            "HELO=\u{e9}",
        ] {
            assert_eq!(Attributes::parse(arguments), None, "{arguments:?}");
        }
        let long = format!("HELO={}", "x".repeat(256));
        assert_eq!(Attributes::parse(&long), None);
    }
}
