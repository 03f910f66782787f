//! Signing and verifying together.

use super::keys::tests::{ED25519, ED25519_PUBLIC, RSA_1024, RSA_1024_PUBLIC};
use super::record::PublicKey;
use super::*;
use crate::header::HeaderBlock;
use crate::source::tests::Slow;
use proptest::prelude::*;

const MAIL: &str = "Received: by x\r\nFrom: A <a@example.com>\r\nTo: b@example.com\r\nSUBJECT:  two\r\n  lines \r\n\
                    Received: by y\r\n\r\nHello  \r\n\r\nworld \r\n\r\n\r\n";

fn private(algorithm: Algorithm) -> PrivateKey {
    let text = match algorithm {
        Algorithm::Ed25519Sha256 => ED25519,
        _ => RSA_1024,
    };
    PrivateKey::parse(text.as_bytes()).unwrap()
}

fn record(algorithm: Algorithm) -> String {
    match algorithm {
        Algorithm::Ed25519Sha256 => format!("v=DKIM1; k=ed25519; p={ED25519_PUBLIC}"),
        _ => format!("v=DKIM1; p={RSA_1024_PUBLIC}"),
    }
}

fn signed(mail: &str, options: &SignOptions) -> String {
    let key = private(options.algorithm);
    let value = sign(mail.as_bytes(), b"sel", b"example.com", &key, options).unwrap();
    let value = String::from_utf8(value).unwrap();
    format!("{}: {value}\r\n{mail}", options.field_name())
}

/// Verifies the first field.
fn check(mail: &str, now: u64) -> Result<(), Failure> {
    let header = HeaderBlock::read(mail.as_bytes()).unwrap();
    let field = header.fields().next().unwrap().field();
    let signature = Signature::parse(&field)?;
    let key = PublicKey::from_record(record(signature.algorithm).as_bytes(), &signature)?;
    verify(&header, mail.as_bytes(), &signature, &key, now)
}

fn options() -> impl Strategy<Value = SignOptions> {
    let canon = || prop_oneof![Just(Canon::Simple), Just(Canon::Relaxed)];
    let algorithm = prop_oneof![
        Just(Algorithm::RsaSha256),
        Just(Algorithm::RsaSha1),
        Just(Algorithm::Ed25519Sha256)
    ];
    let length = proptest::option::of(0_u64..40);
    (canon(), canon(), algorithm, length, any::<bool>()).prop_map(
        |(header, body, algorithm, body_length, arc)| SignOptions {
            header,
            body,
            algorithm,
            body_length,
            arc: (arc && algorithm != Algorithm::RsaSha1).then_some(3),
            timestamp: Some(1000),
            expiration: Some(2000),
            ..SignOptions::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_signed_verifies_and_a_changed_byte_does_not(options in options(), at in 0usize..1000, lf in any::<bool>()) {
        let mail = if lf { MAIL.replace("\r\n", "\n") } else { MAIL.to_owned() };
        let whole = signed(&mail, &options);
        prop_assert!(check(&whole, 1500).is_ok());
        prop_assert!(matches!(check(&whole, 2001), Err(Failure::Expired)));
        // Whatever the way that its lines end is changed to.
        prop_assert!(check(&whole.replace("\r\n", "\n"), 1500).is_ok());
        let again = format!("From: x\r\n{whole}");
        let header = HeaderBlock::read(again.as_bytes()).unwrap();
        let field = header.nth(options.field_name().as_bytes(), 0).unwrap().field();
        let signature = Signature::parse(&field).unwrap();
        let key = PublicKey::for_algorithm(record(options.algorithm).as_bytes(), options.algorithm).unwrap();
        // From is listed once more than it occurs.
        prop_assert!(matches!(
            verify(&header, again.as_bytes(), &signature, &key, 1500),
            Err(Failure::Signature)
        ));
        // A letter of the signed header or, when all of it is signed, of the body.
        let letters: Vec<usize> = ["A <a@", "two", "lines", "Hello", "world"]
            .iter()
            .filter(|word| options.body_length.is_none() || !matches!(**word, "Hello" | "world"))
            .filter_map(|word| whole.rfind(word))
            .collect();
        let at = letters[at % letters.len()];
        let mut broken = whole.clone().into_bytes();
        broken[at] ^= 1;
        prop_assert!(check(std::str::from_utf8(&broken).unwrap(), 1500).is_err());
    }
}

#[test]
fn a_body_that_is_read_in_pieces_has_the_same_hash() {
    let mail = format!("From: a@example.com\r\n\r\n{}", "line \r\n".repeat(30_000));
    let whole = signed(&mail, &SignOptions::default());
    let header = HeaderBlock::read(whole.as_bytes()).unwrap();
    let signature = Signature::parse(&header.fields().next().unwrap().field()).unwrap();
    let key = PublicKey::from_record(record(Algorithm::RsaSha256).as_bytes(), &signature).unwrap();
    let slow = Slow(whole.as_bytes());
    assert!(verify(&header, &slow, &signature, &key, 0).is_ok());
}

#[test]
fn a_signed_length_lets_the_body_grow_but_not_shrink() {
    let options = SignOptions {
        body_length: Some(5),
        ..SignOptions::default()
    };
    let whole = signed(MAIL, &options);
    assert!(whole.contains("l=5;"));
    assert!(check(&format!("{whole}more\r\n"), 0).is_ok());
    let cut = whole.split("Hello").next().unwrap();
    assert!(matches!(check(cut, 0), Err(Failure::Length)));
    // More than there is: what there is.
    let options = SignOptions {
        body_length: Some(1000),
        ..options
    };
    let whole = signed(MAIL, &options);
    assert!(whole.contains("l=16;"), "{whole}");
    assert!(check(&whole, 0).is_ok());
}

#[test]
fn fields_are_listed_as_the_options_say() {
    let h = |options: &SignOptions| {
        let whole = signed(MAIL, options);
        let header = HeaderBlock::read(whole.as_bytes()).unwrap();
        let field = header.fields().next().unwrap().field();
        let signature = Signature::parse(&field).unwrap();
        assert!(check(&whole, 0).is_ok());
        let names: Vec<String> = signature
            .headers
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        names.join(":")
    };
    let list = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let base = SignOptions::default();
    assert_eq!(h(&base), "From:To:SUBJECT:from");
    let options = SignOptions {
        additional: list(&["received", "x-none"]),
        oversign: Some(list(&["To", "Cc"])),
        ..base.clone()
    };
    assert_eq!(h(&options), "Received:From:To:SUBJECT:Received:To:Cc");
    let options = SignOptions {
        headers: Some(list(&["Subject", "FROM", "Received"])),
        ..base.clone()
    };
    assert_eq!(h(&options), "Subject:FROM:Received");
    let options = SignOptions {
        oversign: Some(list(&["from", "From"])),
        ..options
    };
    assert_eq!(h(&options), "Subject:FROM:Received:from");
}

#[test]
fn what_would_make_no_signature_is_refused() {
    let refuse = |selector: &str, domain: &str, options: SignOptions| {
        let key = private(options.algorithm);
        let mail = MAIL.as_bytes();
        sign(mail, selector.as_bytes(), domain.as_bytes(), &key, &options).unwrap_err()
    };
    let base = SignOptions::default;
    assert!(matches!(
        refuse("a\r\nb", "example.com", base()),
        SignError::Selector
    ));
    assert!(matches!(
        refuse("a", "example.com; l=0", base()),
        SignError::Domain
    ));
    assert!(matches!(refuse("a", "", base()), SignError::Domain));
    let identity = |text: &str| SignOptions {
        identity: Some(text.as_bytes().to_vec()),
        ..base()
    };
    for text in ["x", "x@example.org", "x@sub.example.com\r\n", "@"] {
        let error = refuse("a", "example.com", identity(text));
        assert!(matches!(error, SignError::Identity), "{text}");
    }
    let whole = signed(MAIL, &identity("a;\r\n=b@Sub.example.com"));
    assert!(whole.contains("i=a=3B=0D=0A=3Db@Sub.example.com;"));
    assert!(check(&whole, 0).is_ok());
    let headers = |name: &str| SignOptions {
        headers: Some(vec![name.as_bytes().to_vec()]),
        ..base()
    };
    assert!(matches!(
        refuse("a", "b.c", headers("to")),
        SignError::FromNotSigned
    ));
    assert!(matches!(
        refuse("a", "b.c", headers("from:to")),
        SignError::HeaderName(_)
    ));
    let arc = SignOptions {
        arc: Some(51),
        ..base()
    };
    assert!(matches!(refuse("a", "b.c", arc), SignError::Instance));
    let times = SignOptions {
        timestamp: Some(5),
        expiration: Some(5),
        ..base()
    };
    assert!(matches!(refuse("a", "b.c", times), SignError::Times));
    let key = private(Algorithm::Ed25519Sha256);
    assert!(matches!(
        sign(MAIL.as_bytes(), b"a", b"b.c", &key, &base()),
        Err(SignError::Key(keys::KeyError::NotRsa))
    ));
}

#[test]
fn a_field_is_folded_and_of_short_lines() {
    let options = SignOptions {
        timestamp: Some(1_528_637_909),
        ..SignOptions::default()
    };
    insta::assert_snapshot!(
        signed(MAIL, &options)
            .split("\r\nReceived")
            .next()
            .unwrap()
            .replace('\r', "")
    );
}
