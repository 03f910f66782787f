//! Writing text in a charset, and what stands in for characters that it lacks.

use encoding_rs::{EUC_KR, Encoder, EncoderResult, Encoding, GBK};
use icu_normalizer::DecomposingNormalizerBorrowed;

use super::{
    Coding, ESCAPE, Fault, KR_HEADER, Mode, Order, Policy, SHIFT_IN, SHIFT_OUT, johab, utf7,
};

/// Writes text in a charset piece by piece.
pub struct Writer {
    coding: Coding,
    state: Writing,
    policy: Policy,
}

enum Writing {
    Standard(Encoder),
    Own(Coding, Mode),
}

impl Writer {
    /// A writer in its initial state.
    #[must_use]
    pub fn new(coding: Coding, policy: Policy) -> Writer {
        Writer {
            coding,
            state: Writing::new(coding),
            policy,
        }
    }

    /// Writes more text.
    ///
    /// # Errors
    /// [`Fault::Invalid`] for a character that the charset lacks, unless the policy says what to do with it.
    pub fn write(&mut self, text: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut rest = text;
        while let Some((c, after)) = self.state.write(rest, out) {
            rest = after;
            if self.policy.translit {
                let candidates = similar(c);
                if let Some(candidate) = candidates.iter().find(|text| self.coding.has(text)) {
                    self.state.write(candidate, out);
                }
            } else if !self.policy.ignore {
                return Err(Fault::Invalid);
            }
        }
        Ok(())
    }

    /// The end of the text: back to the initial state.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        match &mut self.state {
            Writing::Standard(encoder) => {
                out.reserve(16);
                let _ = encoder.encode_from_utf8_to_vec_without_replacement("", out, true);
            }
            Writing::Own(coding, mode) => coding.unshift(mode, out),
        }
    }
}

impl Writing {
    fn new(coding: Coding) -> Writing {
        match coding {
            Coding::Standard(encoding) => Writing::Standard(encoding.new_encoder()),
            own => Writing::Own(own, Mode::default()),
        }
    }

    /// Writes `text` up to the first character that the charset lacks; gives that and what follows.
    fn write<'t>(&mut self, text: &'t str, out: &mut Vec<u8>) -> Option<(char, &'t str)> {
        match self {
            Writing::Standard(encoder) => {
                let mut rest = text;
                loop {
                    let room = encoder.max_buffer_length_from_utf8_without_replacement(rest.len());
                    out.reserve(room.unwrap_or(rest.len()).max(16));
                    let (result, read) =
                        encoder.encode_from_utf8_to_vec_without_replacement(rest, out, false);
                    rest = rest.get(read..).unwrap_or_default();
                    match result {
                        EncoderResult::InputEmpty => return None,
                        EncoderResult::OutputFull => {}
                        EncoderResult::Unmappable(c) => return Some((c, rest)),
                    }
                }
            }
            Writing::Own(coding, mode) => {
                let mut chars = text.chars();
                while let Some(c) = chars.next() {
                    if coding.put(c, mode, out).is_none() {
                        return Some((c, chars.as_str()));
                    }
                }
                None
            }
        }
    }
}

impl Coding {
    /// Whether all characters of `text` are in the charset.
    fn has(self, text: &str) -> bool {
        Writing::new(self).write(text, &mut Vec::new()).is_none()
    }

    /// Writes one character; none when the charset lacks it.
    fn put(self, c: char, mode: &mut Mode, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Coding::Ascii => out.push(u8::try_from(c).ok().filter(u8::is_ascii)?),
            Coding::Latin1 => out.push(u8::try_from(c).ok()?),
            Coding::Single(_) if c.is_ascii() => out.push(u8::try_from(c).ok()?),
            Coding::Single(upper) => {
                let at = upper.iter().position(|known| *known == c)?;
                out.push(0x80 | u8::try_from(at).ok().filter(|_| c != '\u{fffd}')?);
            }
            Coding::Utf16(order) => {
                if order == Order::Marked && !std::mem::replace(&mut mode.begun, true) {
                    out.extend_from_slice(&[0xff, 0xfe]);
                }
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(&match order {
                        Order::Big => unit.to_be_bytes(),
                        Order::Little | Order::Marked => unit.to_le_bytes(),
                    });
                }
            }
            Coding::Utf32(order) => {
                if order == Order::Marked && !std::mem::replace(&mut mode.begun, true) {
                    out.extend_from_slice(&[0xff, 0xfe, 0, 0]);
                }
                out.extend_from_slice(&match order {
                    Order::Big => u32::from(c).to_be_bytes(),
                    Order::Little | Order::Marked => u32::from(c).to_le_bytes(),
                });
            }
            Coding::Iso2022Kr => {
                let double = match c.is_ascii() {
                    true => None,
                    false => Some(double(EUC_KR, c)?),
                };
                if !std::mem::replace(&mut mode.begun, true) {
                    out.extend_from_slice(KR_HEADER);
                }
                self.shift(double, c, mode, out)?;
            }
            Coding::Hz => {
                let double = match c.is_ascii() {
                    true => None,
                    false => Some(double(GBK, c)?),
                };
                self.shift(double, c, mode, out)?;
            }
            Coding::Johab if c.is_ascii() => out.push(u8::try_from(c).ok()?),
            Coding::Johab => out.extend_from_slice(&johab::encode(c)?),
            Coding::Utf7 => utf7::put(c, mode, out),
            Coding::Standard(_) => return None,
        }
        Some(())
    }

    /// Writes ASCII, or the two bytes of another character, in the mode that it needs.
    fn shift(
        self,
        double: Option<[u8; 2]>,
        c: char,
        mode: &mut Mode,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        match double {
            Some(double) => {
                if !std::mem::replace(&mut mode.shifted, true) {
                    match self {
                        Coding::Hz => out.extend_from_slice(b"~{"),
                        _ => out.push(SHIFT_OUT),
                    }
                }
                out.extend_from_slice(&double);
            }
            None => {
                self.unshift(mode, out);
                let byte = u8::try_from(c).ok()?;
                match self {
                    Coding::Iso2022Kr if matches!(byte, SHIFT_OUT | SHIFT_IN | ESCAPE) => {
                        return None;
                    }
                    Coding::Hz if byte == b'~' => out.push(b'~'),
                    _ => {}
                }
                out.push(byte);
            }
        }
        Some(())
    }

    fn unshift(self, mode: &mut Mode, out: &mut Vec<u8>) {
        if self == Coding::Utf7 {
            return utf7::end(mode, out);
        }
        if std::mem::take(&mut mode.shifted) {
            match self {
                Coding::Hz => out.extend_from_slice(b"~}"),
                _ => out.push(SHIFT_IN),
            }
        }
    }
}

/// The two bytes of a character in the set of 94 by 94 that `encoding` holds.
pub(super) fn double(encoding: &'static Encoding, c: char) -> Option<[u8; 2]> {
    let mut buffer = [0; 4];
    let (bytes, _, unmappable) = encoding.encode(c.encode_utf8(&mut buffer));
    let pair = <[u8; 2]>::try_from(&*bytes).ok()?;
    // Below are the additions of the web to the national standard.
    (!unmappable && pair.iter().all(|byte| (0xa1..=0xfe).contains(byte)))
        .then(|| pair.map(|byte| byte & 0x7f))
}

/// Texts that come near to a character, the best one first; `?` is the last.
fn similar(c: char) -> Vec<String> {
    let known = match c {
        '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2032}' => "'",
        '\u{201a}' => ",",
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{201f}' | '\u{2033}' => "\"",
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "-",
        '«' => "<<",
        '»' => ">>",
        '\u{2039}' => "<",
        '\u{203a}' => ">",
        '\u{2022}' | '·' => "o",
        '€' => "EUR",
        '£' => "GBP",
        '¥' => "JPY",
        '©' => "(C)",
        '®' => "(R)",
        'ß' => "ss",
        'Æ' => "AE",
        'æ' => "ae",
        'Œ' => "OE",
        'œ' => "oe",
        'Ø' => "O",
        'ø' => "o",
        'Ł' => "L",
        'ł' => "l",
        'Đ' | 'Ð' => "D",
        'đ' | 'ð' => "d",
        'Þ' => "TH",
        'þ' => "th",
        'ı' => "i",
        '×' => "x",
        _ => "",
    };
    let mut list = Vec::new();
    let is_invisible = matches!(c, '\u{200b}'..='\u{200d}' | '\u{ad}' | '\u{feff}');
    if !known.is_empty() || is_invisible {
        list.push(known.to_owned());
    }
    let mut buffer = [0; 4];
    let decomposed =
        DecomposingNormalizerBorrowed::new_nfkd().normalize(c.encode_utf8(&mut buffer));
    if decomposed.chars().ne([c]) {
        list.push(decomposed.clone().into_owned());
        let base: String = decomposed
            .chars()
            .filter(|c| !matches!(c, '\u{300}'..='\u{36f}'))
            .map(|c| if c == '\u{2044}' { '/' } else { c })
            .collect();
        if !base.trim().is_empty() || c.is_whitespace() {
            list.push(base);
        }
    }
    list.push("?".to_owned());
    list
}
