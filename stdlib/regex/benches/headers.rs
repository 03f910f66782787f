//! Header lines on both engines.
#![allow(
    missing_docs,
    reason = "the macros of criterion make undocumented functions"
)]

use std::hint::black_box;

use angarium_regex::{Captures, Modifiers, Regex};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const LINES: [&[u8]; 6] = [
    b"Received: from mail.example.org (mail.example.org [192.0.2.7]) by mx.example.com with ESMTPS",
    b"From: \"Some One\" <some.one@example.org>",
    b"Subject: =?UTF-8?Q?caf=C3=A9?= and a longer text that goes on for quite some while",
    b"Message-ID: <20240101120000.12345.qmail@example.org>",
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=mail; h=from:to:subject",
    b"X-Spam-Status: No, score=-1.9 required=5.0 tests=BAYES_00,SPF_PASS autolearn=ham",
];

const PATTERNS: [(&str, &str, &str); 4] = [
    ("name", r"^([A-Za-z-]+):\s*(.*)$", ""),
    ("address", r"<([^@<>\s]+)@([a-z0-9.-]+\.[a-z]{2,})>", "i"),
    ("literal", r"autolearn=(ham|spam)", ""),
    ("ip", r"\[(\d{1,3}(?:\.\d{1,3}){3})\]", ""),
];

fn headers(criterion: &mut Criterion) {
    let bytes: usize = LINES.iter().map(|line| line.len()).sum();
    for (name, pattern, letters) in PATTERNS {
        let modifiers = Modifiers::parse(letters.as_bytes()).expect("known letters");
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes as u64));
        let auto = Regex::new(pattern.as_bytes(), modifiers).expect("good pattern");
        let pcre2 = Regex::on_pcre2(pattern.as_bytes(), modifiers).expect("good pattern");
        assert!(auto.is_linear() && !pcre2.is_linear());
        for (engine, regex) in [("automaton", auto), ("pcre2", pcre2)] {
            let mut captures = Captures::new();
            group.bench_function(format!("{engine}/captures"), |bencher| {
                bencher.iter(|| {
                    for line in LINES {
                        black_box(regex.captures_at(black_box(line), 0, &mut captures));
                    }
                });
            });
            group.bench_function(format!("{engine}/is_match"), |bencher| {
                bencher.iter(|| {
                    for line in LINES {
                        black_box(regex.is_match(black_box(line)));
                    }
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, headers);
criterion_main!(benches);
