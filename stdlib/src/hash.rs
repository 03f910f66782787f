//! Digests, keyed digests and random bytes.

use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Outcome, Throw, opt};
use angarium_runtime::value::Value;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

use crate::heavy::{self, Failure};

const BINARY: angarium_runtime::native::OptDecl = opt(
    "binary",
    "boolean",
    "false",
    "give raw bytes instead of hex",
);

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::heavy(
        "hash(message: string): number",
        "Gives a number that is the same for equal strings, in every process: FNV-1a, the low 53 of its 64 bits.",
        hash,
    )
    .example("hash(\"\") // 5239054864098085"),
    FnDecl::heavy("hmac_md5(key: string, message: string, options?: array): string", "Computes HMAC-MD5, in lower-case hex.", |cx, args| {
        keyed(cx, &args, Algorithm::Md5, 2)
    })
    .options(&[BINARY])
    .example(r#"hmac_md5("key", "message") // "4e4748e62b463521f6775fbf921234b5""#),
    FnDecl::heavy("hmac_sha1(key: string, message: string, options?: array): string", "Computes HMAC-SHA-1, in lower-case hex.", |cx, args| {
        keyed(cx, &args, Algorithm::Sha1, 2)
    })
    .options(&[BINARY])
    .example(r#"hmac_sha1("key", "message") // "2088df74d5f2146b48146caf4965377e9d0be3a4""#),
    FnDecl::heavy(
        "hmac_sha2(key: string, message: string, hashsize: number, options?: array): string",
        "Computes HMAC-SHA-2 of 224, 256, 384 or 512 bits, in lower-case hex. Another size raises an Exception.",
        |cx, args| {
            let algorithm = sha2_of("hmac_sha2", args.number(2, 0.0))?;
            keyed(cx, &args, algorithm, 3)
        },
    )
    .options(&[BINARY])
    .example(r#"hmac_sha2("key", "message", 256) // "6e9ef29b75fffc5b7abae527d58fdadb2fe42e7219011976917343065f58ed4a""#),
    FnDecl::heavy("md5(message: string, options?: array): string", "Computes MD5, in lower-case hex.", |cx, args| {
        plain(cx, &args, Algorithm::Md5, 1)
    })
    .options(&[BINARY])
    .example(r#"md5("") // "d41d8cd98f00b204e9800998ecf8427e""#),
    FnDecl::heavy("sha1(message: string, options?: array): string", "Computes SHA-1, in lower-case hex.", |cx, args| {
        plain(cx, &args, Algorithm::Sha1, 1)
    })
    .options(&[BINARY])
    .example(r#"sha1("") // "da39a3ee5e6b4b0d3255bfef95601890afd80709""#),
    FnDecl::heavy(
        "sha2(message: string, hashsize: number, options?: array): string",
        "Computes SHA-2 of 224, 256, 384 or 512 bits, in lower-case hex. Another size raises an Exception.",
        |cx, args| {
            let algorithm = sha2_of("sha2", args.number(1, 0.0))?;
            plain(cx, &args, algorithm, 2)
        },
    )
    .options(&[BINARY])
    .example(r#"sha2("", 256) // "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#),
    FnDecl::plain(
        "random_bytes(bytes: number): string",
        "Gives random bytes fit for keys, at most 1 MiB. A negative or larger number raises an Exception.",
        random_bytes,
    )
    .example("length(random_bytes(16)) // 16"),
    FnDecl::plain(
        "random_number(first?: number, last?: number): number",
        "Gives a random number: between 0 and 1 without arguments, an integer from `first` to `last` with two, from 0 \
         to `first` with one.",
        random_number,
    )
    .example("random_number(5, 5) // 5"),
];

/// A digest.
#[derive(Clone, Copy)]
enum Algorithm {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

fn sha2_of(name: &str, size: f64) -> Result<Algorithm, Throw> {
    match size as i64 {
        224 => Ok(Algorithm::Sha224),
        256 => Ok(Algorithm::Sha256),
        384 => Ok(Algorithm::Sha384),
        512 => Ok(Algorithm::Sha512),
        other => Err(Throw::error(format!(
            "{name}: hash size {other} is none of 224, 256, 384, 512"
        ))),
    }
}

fn digest(algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::Md5 => Md5::digest(message).to_vec(),
        Algorithm::Sha1 => Sha1::digest(message).to_vec(),
        Algorithm::Sha224 => Sha224::digest(message).to_vec(),
        Algorithm::Sha256 => Sha256::digest(message).to_vec(),
        Algorithm::Sha384 => Sha384::digest(message).to_vec(),
        Algorithm::Sha512 => Sha512::digest(message).to_vec(),
    }
}

fn hmac(algorithm: Algorithm, key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    macro_rules! with {
        ($digest:ty) => {
            // HMAC takes keys of any length.
            Hmac::<$digest>::new_from_slice(key).ok().map(|mut mac| {
                mac.update(message);
                mac.finalize().into_bytes().to_vec()
            })
        };
    }
    match algorithm {
        Algorithm::Md5 => with!(Md5),
        Algorithm::Sha1 => with!(Sha1),
        Algorithm::Sha224 => with!(Sha224),
        Algorithm::Sha256 => with!(Sha256),
        Algorithm::Sha384 => with!(Sha384),
        Algorithm::Sha512 => with!(Sha512),
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| {
            [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]
        })
        .collect()
}

fn shown(bytes: Vec<u8>, binary: bool) -> Value {
    if binary {
        bytes.into()
    } else {
        hex(&bytes).into()
    }
}

fn plain(
    cx: &mut Cx<'_>,
    args: &Args<'_>,
    algorithm: Algorithm,
    options: usize,
) -> Result<Heavy, Throw> {
    let binary = args.options(options).boolean("binary", false);
    heavy::run(cx, args.bytes(0).len(), &args.values[..1], move |values| {
        Ok(shown(
            digest(algorithm, values[0].as_bytes().unwrap_or(b"")),
            binary,
        ))
    })
}

fn keyed(
    cx: &mut Cx<'_>,
    args: &Args<'_>,
    algorithm: Algorithm,
    options: usize,
) -> Result<Heavy, Throw> {
    let binary = args.options(options).boolean("binary", false);
    let size = args.bytes(0).len() + args.bytes(1).len();
    heavy::run(cx, size, &args.values[..2], move |values| {
        let bytes = |index: usize| values[index].as_bytes().unwrap_or(b"");
        hmac(algorithm, bytes(0), bytes(1))
            .map(|mac| shown(mac, binary))
            .ok_or_else(|| Failure::Error("key not usable".to_owned()))
    })
}

fn hash(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    heavy::run(cx, args.bytes(0).len(), args.values, |values| {
        let message = values.first().and_then(Value::as_bytes).unwrap_or(b"");
        let hash = message
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        Ok(((hash & ((1 << 53) - 1)) as f64).into())
    })
}

fn random_bytes(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let count = args.number(0, 0.0);
    if !(0.0..=1_048_576.0).contains(&count) {
        return Err(Throw::error(
            "random_bytes: the number of bytes must be 0 to 1048576",
        ));
    }
    let mut bytes = vec![0; count as usize];
    cx.reserve(bytes.len())?;
    cx.host.random.fill(&mut bytes);
    Ok(bytes.into())
}

fn random_number(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    if !args.has(0) {
        return Ok(cx.host.random.unit().into());
    }
    let (first, last) = if args.has(1) {
        (args.integer(0, 0), args.integer(1, 0))
    } else {
        (0, args.integer(0, 0))
    };
    let (first, last) = (first.min(last), first.max(last));
    let span = last.wrapping_sub(first) as u64;
    let offset = if span == u64::MAX {
        cx.host.random.next_u64()
    } else {
        cx.host.random.below(span + 1)
    };
    Ok((first.wrapping_add(offset as i64) as f64).into())
}
