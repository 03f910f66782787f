//! Header edits and parsing on a message of 100 KB, and signing one of 4 KiB beside what RSA itself takes.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may stop")]

use angarium_mail::{
    dkim::{PrivateKey, SignOptions, keys::Hash, sign},
    edits::Modified,
    field::ValueForm,
    message::Message,
    parts::{Limits, PartId, Parts},
};
use criterion::{Criterion, criterion_group, criterion_main};
use std::{hint::black_box, sync::Arc};

/// A mail with the usual fields, a text part and an attachment.
fn message() -> Vec<u8> {
    let mut text = String::new();
    for i in 0..12 {
        text += &format!(
            "Received: from host{i}.example.org (host{i}.example.org [192.0.2.{i}])\r\n\
             \tby mx.example.com with ESMTPS id 0123456789abcdef{i};\r\n\
             \tMon, 02 Jan 2006 15:04:05 +0000\r\n"
        );
    }
    text += "From: Ann <ann@example.org>\r\nTo: Bob <bob@example.com>\r\n\
        Subject: =?utf-8?Q?Sm=C3=B6rg=C3=A5s?=\r\nMessage-ID: <1@example.org>\r\n\
        MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n\
        --b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b\r\n\
        Content-Type: application/pdf; name=x.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    while text.len() < 100 * 1024 {
        text +=
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7\r\n";
    }
    text += "--b--\r\n";
    text.into_bytes()
}

fn benches(c: &mut Criterion) {
    let bytes = message();
    let form = ValueForm::default();
    c.bench_function("parse the header of 100 KB", |b| {
        b.iter(|| Message::new(black_box(&bytes)));
    });
    let message = Message::new(&bytes).unwrap();
    c.bench_function("edit three headers of 100 KB into an edit list", |b| {
        b.iter_batched_ref(
            || message.clone(),
            |m| {
                m.add_header(PartId::ROOT, b"X-Spam", b"no", form).unwrap();
                m.set_header(
                    PartId::ROOT,
                    b"Subject",
                    "[x] Smörgås".as_bytes(),
                    None,
                    form,
                )
                .unwrap();
                m.del_header(PartId::ROOT, b"Received", Some(-1)).unwrap();
                let edits = Arc::new(m.edits());
                let modified = Modified::new(&bytes, edits, 0).unwrap();
                modified.slices().unwrap().map(<[u8]>::len).sum::<usize>()
            },
            criterion::BatchSize::SmallInput,
        );
    });
    c.bench_function("parse the parts of 100 KB", |b| {
        b.iter(|| Parts::parse(black_box(&bytes), Limits::default()));
    });
    c.bench_function("parse the parts and decode the attachment of 100 KB", |b| {
        b.iter(|| {
            let parts = Parts::parse(black_box(&bytes), Limits::default()).unwrap();
            parts.get(PartId(2)).unwrap().read_body(&bytes, true)
        });
    });
}

fn signatures(c: &mut Criterion) {
    let mut mail = message();
    mail.truncate(4096);
    let pem = include_bytes!("../src/dkim/testdata/rsa2048.pem");
    let key = PrivateKey::from_pem(pem).unwrap();
    c.bench_function("sign with RSA of 2048 bits", |b| {
        b.iter(|| key.sign_rsa(Hash::Sha256, black_box(&mail[..256])).unwrap());
    });
    let options = SignOptions::default();
    c.bench_function("sign a mail of 4 KiB with DKIM", |b| {
        b.iter(|| sign(black_box(&mail), b"s", b"example.org", &key, &options).unwrap());
    });
}

criterion_group!(all, benches, signatures);
criterion_main!(all);
