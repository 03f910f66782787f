//! Parameters of MAIL and RCPT (RFC 5321 §4.1.2; RFC 1870, 3030, 3461, 6152, 6531, 6710, 8689).

use crate::xtext;

/// One parameter as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Upper case.
    pub name: String,
    /// As sent, not decoded; `None` when there was no `=`.
    pub value: Option<String>,
}

/// The parameters of one command, in the order sent; no name occurs twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<Param>);

impl Params {
    /// The parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.0.iter()
    }

    /// What scripts see: upper-case name and value, `""` for a parameter without value.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|param| (param.name.as_str(), param.value.as_deref().unwrap_or("")))
    }

    /// Finds a parameter by its upper-case name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.0.iter().find(|param| param.name == name)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds or replaces a parameter.
    ///
    /// # Errors
    ///
    /// [`ParamError::Syntax`] when name or value could not stand in a command line.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), ParamError> {
        let value_ok = value.is_none_or(|value| !value.is_empty() && value.chars().all(is_value));
        if !is_keyword(name) || !value_ok {
            return Err(ParamError::Syntax);
        }
        let name = name.to_ascii_uppercase();
        let value = value.map(str::to_owned);
        match self.0.iter_mut().find(|param| param.name == name) {
            Some(param) => param.value = value,
            None => self.0.push(Param { name, value }),
        }
        Ok(())
    }

    /// Takes a parameter out by its upper-case name.
    pub fn take(&mut self, name: &str) -> Option<Param> {
        let at = self.0.iter().position(|param| param.name == name)?;
        Some(self.0.remove(at))
    }

    /// Parses what follows the path of MAIL or RCPT.
    ///
    /// # Errors
    ///
    /// [`ParamError::Syntax`] for a malformed or repeated parameter.
    pub fn parse(text: &str) -> Result<Self, ParamError> {
        let mut params = Self::default();
        if !text.is_empty() && !text.starts_with(' ') {
            return Err(ParamError::Syntax);
        }
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            let name = name.to_ascii_uppercase();
            if params.get(&name).is_some() {
                return Err(ParamError::Syntax);
            }
            params.set(&name, value)?;
        }
        Ok(params)
    }
}

/// `esmtp-keyword`
fn is_keyword(text: &str) -> bool {
    text.bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// One character of `esmtp-value`, widened by RFC 6531.
fn is_value(character: char) -> bool {
    matches!(character, '!'..='<' | '>'..='~') || (!character.is_ascii() && !character.is_control())
}

/// Why parameters were refused; each has its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// Malformed: 501 5.5.4.
    #[error("malformed parameter")]
    Syntax,
    /// Not offered in this session: 555 5.5.4.
    #[error("parameter not recognized")]
    Unknown,
    /// The declared size is over the limit: 552 5.3.4.
    #[error("message size exceeds limit")]
    TooBig,
}

/// The service extensions of a session: those that the server offers, then those left after the
/// greeting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870.
    pub size: bool,
    /// RFC 6152.
    pub eightbitmime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 2034.
    pub enhancedstatuscodes: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 4954.
    pub auth: bool,
    /// RFC 3461; offered only by a helo hook.
    pub dsn: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3030 §3; it needs `chunking`.
    pub binarymime: bool,
    /// RFC 8689; in force under TLS only.
    pub requiretls: bool,
    /// RFC 6710.
    pub mtpriority: bool,
    /// RFC 9422; it is told and changes nothing.
    pub limits: bool,
    /// XCLIENT; offered to those who may use it.
    pub xclient: bool,
}

impl Extensions {
    /// What a server offers by default before TLS and AUTH are configured (mta.md 1.3).
    #[must_use]
    pub const fn standard() -> Self {
        Self {
            pipelining: true,
            size: true,
            eightbitmime: true,
            smtputf8: true,
            enhancedstatuscodes: true,
            starttls: false,
            auth: false,
            dsn: false,
            chunking: false,
            binarymime: false,
            requiretls: false,
            mtpriority: false,
            limits: false,
            xclient: false,
        }
    }
}

/// BODY= of MAIL (RFC 6152, RFC 3030 §3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyType {
    /// The default.
    #[default]
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
    /// `BINARYMIME`: any bytes, sent with BDAT only.
    BinaryMime,
}

/// What the parameters of MAIL ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailParams {
    /// Declared size in bytes.
    pub size: Option<u64>,
    /// BODY=
    pub body: BodyType,
    /// SMTPUTF8 was asked for.
    pub utf8: bool,
    /// REQUIRETLS: the message may only go on over verified TLS.
    pub requiretls: bool,
    /// MT-PRIORITY, -9 to 9.
    pub priority: Option<i8>,
}

/// Checks the parameters of MAIL against what the session offers. `limit` is the largest message
/// in bytes, 0 for none.
///
/// # Errors
///
/// See [`ParamError`].
pub fn check_mail(
    params: &Params,
    offered: Extensions,
    limit: u64,
) -> Result<MailParams, ParamError> {
    let mut asked = MailParams::default();
    for param in params.iter() {
        let value = param.value.as_deref();
        match param.name.as_str() {
            "SIZE" if offered.size => asked.size = Some(size_value(value)?),
            "BODY" if offered.eightbitmime || offered.binarymime => {
                asked.body = body_value(value, offered)?;
            }
            "SMTPUTF8" if offered.smtputf8 => match value {
                None => asked.utf8 = true,
                Some(_) => return Err(ParamError::Syntax),
            },
            "REQUIRETLS" if offered.requiretls => match value {
                None => asked.requiretls = true,
                Some(_) => return Err(ParamError::Syntax),
            },
            "MT-PRIORITY" if offered.mtpriority => asked.priority = Some(priority_value(value)?),
            "RET" if offered.dsn => ret_value(value)?,
            "ENVID" if offered.dsn => envid_value(value)?,
            "AUTH" if offered.auth => auth_value(value)?,
            _ => return Err(ParamError::Unknown),
        }
    }
    // A limit error comes last, so that a malformed command is called malformed.
    if limit > 0 && asked.size.is_some_and(|size| size > limit) {
        return Err(ParamError::TooBig);
    }
    Ok(asked)
}

/// Checks the parameters of RCPT against what the session offers.
///
/// # Errors
///
/// See [`ParamError`].
pub fn check_rcpt(params: &Params, offered: Extensions) -> Result<(), ParamError> {
    for param in params.iter() {
        let value = param.value.as_deref();
        match param.name.as_str() {
            "NOTIFY" if offered.dsn => notify_value(value)?,
            "ORCPT" if offered.dsn => orcpt_value(value)?,
            _ => return Err(ParamError::Unknown),
        }
    }
    Ok(())
}

/// 1 to 20 digits (RFC 1870 §6); a number beyond 64 bits is over any limit.
fn size_value(value: Option<&str>) -> Result<u64, ParamError> {
    let digits = value
        .filter(|v| (1..=20).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_digit()))
        .ok_or(ParamError::Syntax)?;
    Ok(digits.parse().unwrap_or(u64::MAX))
}

fn body_value(value: Option<&str>, offered: Extensions) -> Result<BodyType, ParamError> {
    let value = value.ok_or(ParamError::Syntax)?;
    let (body, offered) = if value.eq_ignore_ascii_case("7BIT") {
        (BodyType::SevenBit, true)
    } else if value.eq_ignore_ascii_case("8BITMIME") {
        (BodyType::EightBitMime, offered.eightbitmime)
    } else if value.eq_ignore_ascii_case("BINARYMIME") {
        (BodyType::BinaryMime, offered.binarymime)
    } else {
        return Err(ParamError::Syntax);
    };
    match offered {
        true => Ok(body),
        false => Err(ParamError::Unknown),
    }
}

/// `0`, or one digit of 1 to 9 that may be negative (RFC 6710 §6).
fn priority_value(value: Option<&str>) -> Result<i8, ParamError> {
    let value = value.ok_or(ParamError::Syntax)?;
    let digit = value.strip_prefix('-').unwrap_or(value);
    let plain = matches!(digit.as_bytes(), [b'1'..=b'9']) || value == "0";
    match value.parse() {
        Ok(priority) if plain => Ok(priority),
        _ => Err(ParamError::Syntax),
    }
}

fn ret_value(value: Option<&str>) -> Result<(), ParamError> {
    let known = |v: &str| v.eq_ignore_ascii_case("FULL") || v.eq_ignore_ascii_case("HDRS");
    accept(value.is_some_and(known))
}

/// xtext of at most 100 characters (RFC 3461 §4.4).
fn envid_value(value: Option<&str>) -> Result<(), ParamError> {
    accept(value.is_some_and(|v| v.len() <= xtext::ENVID_MAX && xtext::decode(v).is_some()))
}

/// xtext or `<>` (RFC 4954 §5).
fn auth_value(value: Option<&str>) -> Result<(), ParamError> {
    accept(value.is_some_and(|v| v == "<>" || xtext::decode(v).is_some()))
}

/// `NEVER` alone, or a list of the others without repetition (RFC 3461 §4.1).
fn notify_value(value: Option<&str>) -> Result<(), ParamError> {
    let value = value.ok_or(ParamError::Syntax)?;
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(());
    }
    let mut seen = [false; 3];
    for word in value.split(',') {
        let at = ["SUCCESS", "FAILURE", "DELAY"]
            .iter()
            .position(|known| word.eq_ignore_ascii_case(known));
        match at.and_then(|at| seen.get_mut(at)) {
            Some(slot) if !*slot => *slot = true,
            _ => return Err(ParamError::Syntax),
        }
    }
    Ok(())
}

/// `type;xtext` of at most 500 characters (RFC 3461 §4.2); RFC 6533 allows UTF-8 in its own type.
fn orcpt_value(value: Option<&str>) -> Result<(), ParamError> {
    let value = value.ok_or(ParamError::Syntax)?;
    let (_, address) = value.split_once(';').ok_or(ParamError::Syntax)?;
    accept(address.len() <= xtext::ORCPT_MAX && xtext::decode_orcpt(value).is_some())
}

fn accept(good: bool) -> Result<(), ParamError> {
    if good {
        Ok(())
    } else {
        Err(ParamError::Syntax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Extensions {
        Extensions {
            dsn: true,
            auth: true,
            requiretls: true,
            mtpriority: true,
            ..Extensions::standard()
        }
    }

    fn mail(text: &str) -> Result<MailParams, ParamError> {
        check_mail(&Params::parse(text)?, all(), 5000)
    }

    fn rcpt(text: &str) -> Result<(), ParamError> {
        check_rcpt(&Params::parse(text)?, all())
    }

    #[test]
    fn names_are_upper_case_and_absent_values_are_empty() {
        let params = Params::parse("  size=10 Smtputf8 ").expect("parameters");
        let pairs: Vec<_> = params.pairs().collect();
        assert_eq!(pairs, [("SIZE", "10"), ("SMTPUTF8", "")]);
    }

    #[test]
    fn malformed_or_repeated_parameters_are_syntax_errors() {
        for text in [
            " =1", " SIZE=", " A=b=c", " -A=1", " A_B=1", " A=1 a=2", "SIZE=1",
        ] {
            assert_eq!(Params::parse(text), Err(ParamError::Syntax), "{text}");
        }
    }

    #[test]
    fn size_is_digits_within_the_limit() {
        assert_eq!(mail(" SIZE=5000").map(|m| m.size), Ok(Some(5000)));
        assert_eq!(mail(" SIZE=5001"), Err(ParamError::TooBig));
        assert_eq!(mail(" SIZE=99999999999999999999"), Err(ParamError::TooBig));
        for text in [
            " SIZE=abc",
            " SIZE=-1",
            " SIZE",
            " SIZE=999999999999999999999",
        ] {
            assert_eq!(mail(text), Err(ParamError::Syntax), "{text}");
        }
    }

    #[test]
    fn body_and_smtputf8_take_only_their_values() {
        assert_eq!(
            mail(" BODY=8bitmime").map(|m| m.body),
            Ok(BodyType::EightBitMime)
        );
        assert_eq!(mail(" BODY=7BIT").map(|m| m.body), Ok(BodyType::SevenBit));
        assert_eq!(mail(" BODY=9BIT"), Err(ParamError::Syntax));
        assert_eq!(mail(" BODY=BINARYMIME"), Err(ParamError::Unknown));
        assert_eq!(mail(" SMTPUTF8").map(|m| m.utf8), Ok(true));
        assert_eq!(mail(" SMTPUTF8=1"), Err(ParamError::Syntax));
    }

    #[test]
    fn each_body_type_needs_its_extension() {
        let body = |text: &str, eightbitmime, binarymime| {
            let offered = Extensions {
                eightbitmime,
                binarymime,
                ..Extensions::default()
            };
            check_mail(&Params::parse(text)?, offered, 0).map(|asked| asked.body)
        };
        assert_eq!(
            body(" BODY=binarymime", false, true),
            Ok(BodyType::BinaryMime)
        );
        assert_eq!(body(" BODY=7BIT", false, true), Ok(BodyType::SevenBit));
        assert_eq!(
            body(" BODY=8BITMIME", false, true),
            Err(ParamError::Unknown)
        );
        assert_eq!(
            body(" BODY=BINARYMIME", true, false),
            Err(ParamError::Unknown)
        );
        assert_eq!(body(" BODY=7BIT", false, false), Err(ParamError::Unknown));
        assert_eq!(body(" BODY", true, true), Err(ParamError::Syntax));
    }

    #[test]
    fn requiretls_has_no_value_and_a_priority_is_one_digit() {
        assert_eq!(mail(" RequireTLS").map(|m| m.requiretls), Ok(true));
        assert_eq!(mail(" REQUIRETLS=YES"), Err(ParamError::Syntax));
        for (text, priority) in [("0", 0), ("9", 9), ("-9", -9), ("3", 3)] {
            let asked = mail(&format!(" MT-PRIORITY={text}"));
            assert_eq!(asked.map(|m| m.priority), Ok(Some(priority)), "{text}");
        }
        for text in [
            "-0", "10", "+1", "--1", "-", "1.5", "x", "-10", "00", "\u{661}",
        ] {
            let asked = mail(&format!(" MT-PRIORITY={text}"));
            assert_eq!(asked, Err(ParamError::Syntax), "{text}");
        }
        assert_eq!(mail(" MT-PRIORITY"), Err(ParamError::Syntax));
        for text in [" REQUIRETLS", " MT-PRIORITY=1"] {
            let params = Params::parse(text).expect("parameters");
            let asked = check_mail(&params, Extensions::standard(), 0);
            assert_eq!(asked, Err(ParamError::Unknown), "{text}");
        }
    }

    #[test]
    fn dsn_parameters_follow_rfc_3461() {
        for text in [" RET=full ENVID=a+2Bb", " RET=HDRS", " AUTH=<>"] {
            assert!(mail(text).is_ok(), "{text}");
        }
        for text in [" RET=SOME", " RET", " ENVID=a+ZZ"] {
            assert_eq!(mail(text), Err(ParamError::Syntax), "{text}");
        }
        for text in [
            " NOTIFY=NEVER",
            " NOTIFY=success,Delay",
            " ORCPT=rfc822;a+2Bb@example.com",
        ] {
            assert_eq!(rcpt(text), Ok(()), "{text}");
        }
        for text in [
            " NOTIFY=NEVER,DELAY",
            " NOTIFY=DELAY,DELAY",
            " NOTIFY=",
            " ORCPT=a",
            " ORCPT=;a",
        ] {
            assert_eq!(rcpt(text), Err(ParamError::Syntax), "{text}");
        }
    }

    #[test]
    fn what_is_not_offered_is_unknown() {
        let none = Extensions::default();
        for text in [
            " SIZE=1",
            " BODY=7BIT",
            " SMTPUTF8",
            " RET=FULL",
            " FOO=BAR",
        ] {
            let params = Params::parse(text).expect("parameters");
            assert_eq!(
                check_mail(&params, none, 0),
                Err(ParamError::Unknown),
                "{text}"
            );
        }
        assert_eq!(rcpt(" SMTPUTF8"), Err(ParamError::Unknown));
    }
}
