//! UTF-7 (RFC 2152): ASCII, and UTF-16 in base64 from `+` to the first byte that is no digit of it.

use super::{Mode, Step};

/// What of base64 has been read or is to be written.
#[derive(Clone, Copy, Default)]
pub(super) struct Bits {
    value: u32,
    count: u32,
    /// The first half of a pair of units.
    high: Option<u16>,
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn digit(byte: u8) -> Option<u32> {
    let at = DIGITS.iter().position(|&digit| digit == byte)?;
    u32::try_from(at).ok()
}

/// What stands at the beginning of `bytes`.
pub(super) fn step(bytes: &[u8], first: u8, mode: &mut Mode) -> Step {
    if mode.shifted {
        return match digit(first) {
            Some(value) => unit(value, &mut mode.bits),
            None => leave(first, mode),
        };
    }
    match (first, bytes.get(1)) {
        (b'+', None) => Step::Short,
        (b'+', Some(b'-')) => Step::Taken(2, Some('+')),
        (b'+', Some(&next)) if digit(next).is_some() => {
            mode.shifted = true;
            mode.bits = Bits::default();
            Step::Taken(1, None)
        }
        (b'+' | 0x80.., _) => Step::Bad(1),
        _ => Step::Taken(1, Some(char::from(first))),
    }
}

/// One more digit, which may complete a character.
fn unit(digit: u32, bits: &mut Bits) -> Step {
    bits.value = bits.value << 6 | digit;
    bits.count += 6;
    if bits.count < 16 {
        return Step::Taken(1, None);
    }
    bits.count -= 16;
    let [.., a, b] = (bits.value >> bits.count).to_be_bytes();
    bits.value &= (1 << bits.count) - 1;
    let unit = u16::from_be_bytes([a, b]);
    match (bits.high.take(), unit) {
        (None, 0xd800..=0xdbff) => {
            bits.high = Some(unit);
            Step::Taken(1, None)
        }
        (high, _) => {
            let units = high.into_iter().chain([unit]);
            match char::decode_utf16(units).next() {
                Some(Ok(c)) => Step::Taken(1, Some(c)),
                _ => Step::Bad(1),
            }
        }
    }
}

/// The byte that ends the base64: a hyphen belongs to it, everything else is text.
fn leave(byte: u8, mode: &mut Mode) -> Step {
    mode.shifted = false;
    let bits = std::mem::take(&mut mode.bits);
    match byte {
        // Less than a digit is left of whole units.
        _ if bits.high.is_some() || bits.count >= 6 => Step::Bad(1),
        b'-' => Step::Taken(1, None),
        0x80.. => Step::Bad(1),
        _ => Step::Taken(1, Some(char::from(byte))),
    }
}

/// The characters that RFC 2152 lets stand for themselves everywhere.
fn is_direct(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" \t\r\n'(),-./:?".contains(&byte)
}

/// Writes a character.
pub(super) fn put(c: char, mode: &mut Mode, out: &mut Vec<u8>) {
    match u8::try_from(c) {
        Ok(byte) if is_direct(byte) => {
            end(mode, out);
            out.push(byte);
        }
        Ok(b'+') if !mode.shifted => out.extend_from_slice(b"+-"),
        _ => {
            if !std::mem::replace(&mut mode.shifted, true) {
                out.push(b'+');
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                mode.bits.value = mode.bits.value << 16 | u32::from(*unit);
                mode.bits.count += 16;
                while mode.bits.count >= 6 {
                    mode.bits.count -= 6;
                    push(mode.bits.value >> mode.bits.count, out);
                }
                mode.bits.value &= (1 << mode.bits.count) - 1;
            }
        }
    }
}

/// Ends the base64 that is open.
pub(super) fn end(mode: &mut Mode, out: &mut Vec<u8>) {
    if std::mem::take(&mut mode.shifted) {
        let bits = std::mem::take(&mut mode.bits);
        if bits.count > 0 {
            push(bits.value << (6 - bits.count), out);
        }
        out.push(b'-');
    }
}

fn push(value: u32, out: &mut Vec<u8>) {
    out.extend(DIGITS.get(value as usize & 63));
}
