//! Deflate in its three wrappings: zlib (RFC 1950), none (RFC 1951), gzip (RFC 1952).

use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Throw};
use angarium_runtime::string::MAX_STRING;
use angarium_runtime::value::Value;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::heavy::{self, Failure, INLINE_BYTES};

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::heavy(
        "zlib_compress(string: string, compression?: number = 6, windowbits?: number = 15): string",
        "Compresses a text at a level from 0 to 9. `windowbits` of 8 to 15 gives a zlib stream, -8 to -15 bare deflate, 24 to \
         31 (16 more) gzip. Other values raise an Exception.",
        zlib_compress,
    )
    .example("zlib_uncompress(zlib_compress(\"hello\")) // \"hello\"\nord(zlib_compress(\"hello\", 6, 31)) // 31"),
    FnDecl::heavy(
        "zlib_uncompress(string: string, windowbits?: number = 15): string|none",
        "Uncompresses a text. `windowbits` is that of zlib_compress; 40 to 47 (32 more) takes zlib and gzip. What follows the \
         first stream is not looked at. A stream that is broken or cut off gives none.",
        zlib_uncompress,
    )
    .example(
        "zlib_uncompress(base64_decode(\"eJzLSM3JyQcABiwCFQ==\")) // \"hello\"\n\
         zlib_uncompress(zlib_compress(\"hello\", 9, 31), 15 | 32) // \"hello\"\n\
         zlib_uncompress(\"hello\") // none",
    ),
];

/// What a stream is wrapped in, and the binary logarithm of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Zlib(u8),
    Raw(u8),
    Gzip(u8),
    /// zlib or gzip, as the stream begins.
    Either(u8),
}

impl Format {
    /// Reads `windowbits`. A window of 8 is taken for 9, as zlib does.
    fn of(bits: i64) -> Option<Format> {
        let window = |bits: i64| match bits {
            8..=15 => u8::try_from(bits.max(9)).ok(),
            _ => None,
        };
        match bits {
            ..0 => bits.checked_neg().and_then(window).map(Format::Raw),
            0..16 => window(bits).map(Format::Zlib),
            16..32 => window(bits - 16).map(Format::Gzip),
            _ => window(bits - 32).map(Format::Either),
        }
    }

    fn decompressor(self, bytes: &[u8]) -> Decompress {
        match self {
            Format::Zlib(window) => Decompress::new_with_window_bits(true, window),
            Format::Raw(window) => Decompress::new_with_window_bits(false, window),
            Format::Gzip(window) => Decompress::new_gzip(window),
            Format::Either(window) if bytes.starts_with(&[0x1f, 0x8b]) => {
                Decompress::new_gzip(window)
            }
            Format::Either(window) => Decompress::new_with_window_bits(true, window),
        }
    }
}

fn bad_window(name: &str, bits: i64) -> Throw {
    Throw::error(format!("{name}: window bits {bits} are not possible"))
}

fn zlib_compress(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let (level, bits) = (args.integer(1, 6), args.integer(2, 15));
    let level = u32::try_from(level)
        .ok()
        .filter(|level| *level <= 9)
        .ok_or_else(|| Throw::error(format!("zlib_compress: compression {level} is not 0 to 9")))?;
    let format = Format::of(bits)
        .filter(|format| !matches!(format, Format::Either(_)))
        .ok_or_else(|| bad_window("zlib_compress", bits))?;
    let size = args.bytes(0).len();
    cx.reserve(bound(size))?;
    // It takes some ten times as long as other codecs.
    heavy::run(
        cx,
        size.saturating_mul(8),
        &args.values[..1],
        move |values| {
            let bytes = values.first().and_then(Value::as_bytes).unwrap_or(b"");
            deflate(bytes, level, format).map(Value::from)
        },
    )
}

/// Most bytes that `size` bytes become, at any level and in any wrapping.
fn bound(size: usize) -> usize {
    size.saturating_add(size / 64).saturating_add(1024)
}

fn deflate(bytes: &[u8], level: u32, format: Format) -> Result<Vec<u8>, Failure> {
    let level = Compression::new(level);
    let mut stream = match format {
        Format::Gzip(window) => Compress::new_gzip(level, window),
        Format::Raw(window) => Compress::new_with_window_bits(level, false, window),
        Format::Zlib(window) | Format::Either(window) => {
            Compress::new_with_window_bits(level, true, window)
        }
    };
    let failed = || Failure::Error("zlib_compress: the compressor failed".to_owned());
    let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
    loop {
        let done = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let rest = bytes.get(done..).unwrap_or_default();
        let status = stream.compress_vec(rest, &mut out, FlushCompress::Finish);
        match status {
            Ok(Status::StreamEnd) => return Ok(out),
            Ok(Status::Ok | Status::BufError) if out.len() < bound(bytes.len()) => grow(&mut out)?,
            _ => return Err(failed()),
        }
    }
}

/// Makes room in a result of which nobody knows how long it gets.
fn grow(out: &mut Vec<u8>) -> Result<(), Failure> {
    heavy::fits(out.len())?;
    let room = out.capacity().saturating_sub(out.len());
    if room < out.len() / 8 || room < 64 {
        let more = out.len().clamp(4096, MAX_STRING / 4);
        heavy::fits_budget(out.len().saturating_add(more))?;
        out.reserve(more);
    }
    Ok(())
}

fn zlib_uncompress(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let bits = args.integer(1, 15);
    let format = Format::of(bits).ok_or_else(|| bad_window("zlib_uncompress", bits))?;
    let mut size = args.bytes(0).len();
    if size <= INLINE_BYTES {
        // How long the text gets is known only when it is there.
        match inflate(args.bytes(0), format, INLINE_BYTES * 4)? {
            Inflated::Whole(text) => {
                cx.charge(text.len() / 16);
                return Ok(Heavy::Done(text.into()));
            }
            Inflated::Broken => {
                cx.charge(size / 16);
                return Ok(Heavy::Done(Value::None));
            }
            Inflated::Longer => size = INLINE_BYTES * 4,
        }
    }
    heavy::run(cx, size, &args.values[..1], move |values| {
        let bytes = values.first().and_then(Value::as_bytes).unwrap_or(b"");
        Ok(match inflate(bytes, format, usize::MAX)? {
            Inflated::Whole(text) => text.into(),
            Inflated::Broken | Inflated::Longer => Value::None,
        })
    })
}

/// What became of a stream.
enum Inflated {
    Whole(Vec<u8>),
    /// It is no stream, or not all of one.
    Broken,
    /// Its text is longer than was asked for.
    Longer,
}

fn inflate(bytes: &[u8], format: Format, most: usize) -> Result<Inflated, Failure> {
    let mut stream = format.decompressor(bytes);
    let mut out = Vec::with_capacity(bytes.len().saturating_mul(3).clamp(256, INLINE_BYTES * 4));
    loop {
        let (read, written) = (stream.total_in(), out.len());
        let rest = bytes
            .get(usize::try_from(read).unwrap_or(usize::MAX)..)
            .unwrap_or_default();
        let status = stream.decompress_vec(rest, &mut out, FlushDecompress::None);
        let has_room = out.len() < out.capacity();
        match status {
            Ok(Status::StreamEnd) => {
                heavy::fits(out.len())?;
                return Ok(Inflated::Whole(out));
            }
            Ok(_) if out.len() > most => return Ok(Inflated::Longer),
            // It wants more than there is.
            Ok(_) if has_room && stream.total_in() == read && out.len() == written => {
                return Ok(Inflated::Broken);
            }
            Ok(_) => grow(&mut out)?,
            Err(_) => return Ok(Inflated::Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inflated(bytes: &[u8], bits: i64) -> Option<Vec<u8>> {
        match inflate(bytes, Format::of(bits).unwrap(), usize::MAX).unwrap() {
            Inflated::Whole(text) => Some(text),
            Inflated::Broken | Inflated::Longer => None,
        }
    }

    fn deflated(text: &[u8], level: u32, bits: i64) -> Vec<u8> {
        deflate(text, level, Format::of(bits).unwrap()).unwrap()
    }

    #[test]
    fn window_bits_name_the_wrapping() {
        for (bits, format) in [
            (8, Some(Format::Zlib(9))),
            (15, Some(Format::Zlib(15))),
            (-15, Some(Format::Raw(15))),
            (-8, Some(Format::Raw(9))),
            (31, Some(Format::Gzip(15))),
            (24, Some(Format::Gzip(9))),
            (47, Some(Format::Either(15))),
            (0, None),
            (7, None),
            (16, None),
            (23, None),
            (39, None),
            (48, None),
            (-7, None),
            (-16, None),
            (i64::MIN, None),
            (i64::MAX, None),
        ] {
            assert_eq!(Format::of(bits), format, "{bits}");
        }
    }

    #[test]
    fn either_wrapping_is_told_from_the_stream() {
        for bits in [15, 31] {
            assert_eq!(
                inflated(&deflated(b"hello", 6, bits), 47),
                Some(b"hello".to_vec())
            );
        }
        assert_eq!(inflated(&deflated(b"hello", 6, -15), 47), None);
        assert_eq!(inflated(&deflated(b"hello", 6, 31), 15), None);
        assert_eq!(inflated(b"", 47), None);
    }

    #[test]
    fn what_follows_the_stream_is_not_read() {
        let mut stream = deflated(b"hello", 6, 15);
        stream.extend_from_slice(b"more");
        assert_eq!(inflated(&stream, 15), Some(b"hello".to_vec()));
    }

    #[test]
    fn a_bomb_stops_at_what_was_asked_for() {
        let bomb = deflated(&vec![0; 8 << 20], 9, 15);
        assert!(bomb.len() < INLINE_BYTES);
        let result = inflate(&bomb, Format::Zlib(15), 1 << 20).unwrap();
        assert!(matches!(result, Inflated::Longer));
        assert_eq!(inflated(&bomb, 15).unwrap().len(), 8 << 20);
    }

    proptest! {
        #[test]
        fn every_text_survives_every_level_and_window(
            text in prop::collection::vec(prop_oneof![4 => Just(b'a'), 1 => any::<u8>()], 0..3000),
            level in 0_u32..=9,
            bits in prop_oneof![8_i64..=15, -15_i64..=-8, 24_i64..=31],
        ) {
            let stream = deflated(&text, level, bits);
            prop_assert!(stream.len() <= bound(text.len()));
            prop_assert_eq!(inflated(&stream, bits), Some(text));
            // Every part of it but the whole is broken.
            prop_assert_eq!(inflated(&stream[..stream.len() - 1], bits), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), bits in prop_oneof![Just(15_i64), Just(-15), Just(31), Just(47)]) {
            let _ = inflated(&bytes, bits);
        }
    }
}
