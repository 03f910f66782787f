//! DKIM, SPF, the Public Suffix List, IDNA and DMARC by the suites of other projects, and what scripts see of them.
#![allow(clippy::print_stdout, reason = "a suite says how much of it passed")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests read their data from disk; a suite that cannot be read fails its test"
)]

mod common;

use angarium_effects::dns::{DnsError, RecordData, RecordType};
use angarium_mail::dmarc;
use angarium_stdlib::domain;
use common::{World, json_lines, literal, suite, text, yaml_documents};

/// The results of verifying every signature of the message `m`.
const VERIFY: &str = r#"
import $m from "txt!m";
$mail = MailMessage::String($m);
$results = [];
foreach ($mail->getHeaders("DKIM-Signature", ["field" => true]) as $field)
    $results[] = $mail->verifyDKIM($field)["result"];
return array_join($results, ",");
"#;

fn verified(world: &mut World, message: impl AsRef<[u8]>) -> String {
    world.file("m", message);
    world.string(VERIFY)
}

/// The message `m` signed with the key `k`.
fn signed(world: &mut World, message: &[u8], key: &str, options: &str) -> String {
    world.file("m", message);
    world.file("k", key);
    world.string(&format!(
        r#"
import $m from "txt!m";
import $k from "txt!k";
$mail = MailMessage::String($m);
if ($mail->signDKIM("test", "example.com", $k, [{options}]) === none) return "";
return $mail->toString();
"#
    ))
}

struct Score {
    name: &'static str,
    good: usize,
    total: usize,
}

impl Score {
    fn new(name: &'static str) -> Score {
        Score {
            name,
            good: 0,
            total: 0,
        }
    }

    fn count(&mut self, right: bool, what: impl std::fmt::Display) {
        self.total += 1;
        if right {
            self.good += 1;
        } else {
            println!("miss: {what}");
        }
    }

    /// Prints the score and fails below so many percent.
    fn close(self, percent: usize) {
        println!("{}: {} of {}", self.name, self.good, self.total);
        assert!(self.total > 0, "{} is empty", self.name);
        assert!(self.good * 100 >= self.total * percent, "{}", self.name);
    }
}

#[test]
fn the_signatures_of_the_dkim_suite_are_verified() {
    let Some(folder) = suite("dkim") else { return };
    let mut score = Score::new("dkim");
    let mut files: Vec<_> = std::fs::read_dir(folder.join("mail-auth"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let whole = std::fs::read(&path).unwrap();
        let whole = String::from_utf8_lossy(&whole).into_owned();
        let (records, message) = whole.split_once("\n\n").unwrap();
        let mut world = World::default();
        for record in records.lines() {
            let (key, text) = record.split_once(' ').unwrap();
            world.txt(key, text);
        }
        if name.starts_with("dkim-") {
            let result = verified(&mut world, message);
            let all = !result.is_empty() && result.split(',').all(|result| result == "pass");
            score.count(all, format!("{name}: {result}"));
        }
    }
    let folder = folder.join("dkimpy");
    let key_pairs = [
        ("test.private", "test.txt"),
        ("test2.private", "test2.txt"),
        ("1024_testkey.key", "1024_testkey_wo_markers.pub.txt"),
        ("1024_testkey.key", "1024_testkey_wo_markers.pub.rsa.txt"),
        ("2048_testkey.key", "2048_testkey_wo_markers.pub.txt"),
        ("2048_testkey.key", "2048_testkey_wo_markers.pub.rsa.txt"),
        ("2048_testkey_PKCS8.key", "2048_testkey_PKCS8.key.pub.txt"),
    ];
    let options = "\"timestamp\" => 1600000000";
    for file in [
        "test.message",
        "test2.message",
        "test_extra.message",
        "message.mbox",
    ] {
        let message = std::fs::read(folder.join(file)).unwrap();
        for (private, record) in key_pairs {
            if !folder.join(private).exists() || !folder.join(record).exists() {
                continue;
            }
            let mut world = World::default();
            let record = text(&folder, record);
            world.txt("test._domainkey.example.com", record.trim());
            let mail = signed(&mut world, &message, &text(&folder, private), options);
            world.file("m", &mail);
            let result = verified(&mut world, &mail);
            score.count(
                result.starts_with("pass"),
                format!("{file} {private}: {result}"),
            );
        }
    }
    // What was altered does not pass.
    let mut world = World::default();
    world.txt(
        "test._domainkey.example.com",
        text(&folder, "test.txt").trim(),
    );
    let message = std::fs::read(folder.join("test.message")).unwrap();
    let mail = signed(
        &mut world,
        &message,
        &text(&folder, "test.private"),
        options,
    );
    for (from, to) in [
        ("test message.", "test massage."),
        ("Subject: Testing", "Subject: Tasting"),
        ("From: Test", "From: x@example.com\nFrom: Test"),
    ] {
        let altered = mail.replace(from, to);
        assert_ne!(altered, mail);
        let result = verified(&mut world, &altered);
        score.count(result == "permerror", format!("altered {to}: {result}"));
    }
    for record in [
        "badk.txt",
        "badversion.txt",
        "test_tlsrpt.txt",
        "test_bad.txt",
    ] {
        let mut world = World::default();
        world.txt("test._domainkey.example.com", text(&folder, record).trim());
        let result = verified(&mut world, &mail);
        score.count(result == "permerror", format!("{record}: {result}"));
    }
    let mut world = World::default();
    let message = std::fs::read(folder.join("test.message.baddomain")).unwrap();
    let record = text(&folder, "test.txt");
    for name in [
        "test._domainkey.legitimate.com(.attacker.com",
        "test._domainkey.legitimate.com",
    ] {
        world.txt(name, record.trim());
    }
    let result = verified(&mut world, &message);
    score.count(result == "permerror", format!("bad domain: {result}"));
    score.close(100);
}

#[test]
fn the_messages_of_the_mimekit_suite_are_signed_and_verified() {
    let Some(folder) = suite("dkim-mimekit") else {
        return;
    };
    let mut score = Score::new("dkim-mimekit");
    let key = text(&folder, "example.pem");
    let public = text(&folder, "example.pub");
    let public: String = public
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "msg") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let message = std::fs::read(&path).unwrap();
        let mut world = World::default();
        if name == "gmail.msg" {
            world.txt(
                "20120113._domainkey.gmail.com",
                text(&folder, "gmail.pub").trim(),
            );
            let result = verified(&mut world, &message);
            score.count(result == "pass", format!("{name}: {result}"));
            continue;
        }
        if name == "rfc8463-example.msg" {
            world.txt(
                "brisbane._domainkey.football.example.com",
                "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
            );
            world.txt("test._domainkey.football.example.com", RFC_8463_RSA);
            let result = verified(&mut world, &message);
            score.count(result == "pass,pass", format!("{name}: {result}"));
            continue;
        }
        world.txt(
            "test._domainkey.example.com",
            &format!("v=DKIM1; p={public}"),
        );
        for header in ["simple", "relaxed"] {
            for body in ["simple", "relaxed"] {
                let options = format!(
                    "\"canonicalization_header\" => \"{header}\", \"canonicalization_body\" => \"{body}\""
                );
                let mail = signed(&mut world, &message, &key, &options);
                let result = verified(&mut world, &mail);
                score.count(
                    result.starts_with("pass"),
                    format!("{name} {header}/{body}: {result}"),
                );
            }
        }
    }
    score.close(100);
}

/// RFC 8463 §A.2.
const RFC_8463_RSA: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

/// Serves the zone data of an SPF document.
fn serve(world: &World, zone: &serde_json::Value) {
    let strings = |value: &serde_json::Value| match value {
        serde_json::Value::Array(parts) => parts.iter().map(show).collect::<String>(),
        other => show(other),
    };
    for (name, records) in zone.as_object().into_iter().flatten() {
        let mut failing = false;
        let has_txt = records
            .as_array()
            .into_iter()
            .flatten()
            .any(|record| record.get("TXT").is_some());
        for record in records.as_array().into_iter().flatten() {
            let Some((kind, value)) = record.as_object().and_then(|record| record.iter().next())
            else {
                failing |= record == "TIMEOUT" || record == "RCODE";
                continue;
            };
            let host = |value: &serde_json::Value| show(value);
            match kind.as_str() {
                "A" => world.dns.add(
                    name,
                    RecordType::A,
                    RecordData::A(show(value).parse().unwrap()),
                ),
                "AAAA" => world.dns.add(
                    name,
                    RecordType::Aaaa,
                    RecordData::Aaaa(show(value).parse().unwrap()),
                ),
                "MX" => {
                    let parts = value.as_array().unwrap();
                    let data = RecordData::Mx {
                        preference: parts[0].as_u64().unwrap() as u16,
                        exchange: host(&parts[1]),
                    };
                    world.dns.add(name, RecordType::Mx, data);
                }
                "PTR" => world
                    .dns
                    .add(name, RecordType::Ptr, RecordData::Ptr(host(value))),
                "CNAME" => {
                    world
                        .dns
                        .add(name, RecordType::Cname, RecordData::Cname(host(value)));
                }
                // The old type is served as TXT where there is no TXT, unless the zone says that there is none.
                "TXT" | "SPF" => {
                    if value == "TIMEOUT" {
                        world.dns.fail(name, RecordType::Txt, DnsError::TryAgain);
                    } else if value != "NONE" && (kind == "TXT" || !has_txt) {
                        let bytes = strings(value).chars().map(|c| c as u32 as u8).collect();
                        world.dns.add(name, RecordType::Txt, RecordData::Txt(bytes));
                    }
                }
                _ => {}
            }
        }
        // What the zone has beside is answered all the same.
        if failing {
            let kinds = [
                (RecordType::A, "A"),
                (RecordType::Aaaa, "AAAA"),
                (RecordType::Mx, "MX"),
                (RecordType::Ptr, "PTR"),
                (RecordType::Txt, "TXT"),
            ];
            let given = |kind: &str| {
                let mut list = records.as_array().into_iter().flatten();
                list.any(|record| {
                    record.get(kind).is_some() || (kind == "TXT" && record.get("SPF").is_some())
                })
            };
            for (kind, written) in kinds {
                if !given(written) {
                    world.dns.fail(name, kind, DnsError::TryAgain);
                }
            }
        }
    }
}

fn show(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn spf_results_and_explanations_are_those_of_the_suite() {
    let Some(folder) = suite("spf-rfc7208") else {
        return;
    };
    let mut score = Score::new("spf-rfc7208");
    for document in yaml_documents(&folder, "rfc7208-tests.yml") {
        let world = World::default();
        serve(&world, &document["zonedata"]);
        for (name, test) in document["tests"].as_object().into_iter().flatten() {
            let (ip, helo, sender) = (
                show(&test["host"]),
                show(&test["helo"]),
                show(&test["mailfrom"]),
            );
            let result = world.string(&format!(
                "return spf_query({}, {}, {})[\"result\"];",
                literal(&ip),
                literal(&helo),
                literal(&sender)
            ));
            let allowed: Vec<String> = match &test["result"] {
                serde_json::Value::Array(list) => list.iter().map(show).collect(),
                one => vec![show(one)],
            };
            let mut right = allowed.contains(&result);
            let mut said = String::new();
            if result == "fail" && test["explanation"].is_string() {
                said = explanation(&world, &ip, &helo, &sender);
                right &= said == show(&test["explanation"]);
            }
            score.count(right, format!("{name}: {result} {said}"));
        }
    }
    score.close(100);
}

/// The explanation that goes with a fail; `DEFAULT` when the domain gives none.
fn explanation(world: &World, ip: &str, helo: &str, sender: &str) -> String {
    struct Table(angarium_effects::dns::TableDns);
    impl angarium_mail::spf::Resolver for Table {
        async fn query(
            &self,
            name: &str,
            kind: angarium_mail::spf::Kind,
        ) -> Result<Vec<angarium_mail::spf::Data>, angarium_mail::spf::NoAnswer> {
            angarium_stdlib::spf::ask(&self.0, name, kind, &Default::default()).await
        }
    }
    let client = angarium_mail::spf::Client {
        ip: ip.parse().unwrap(),
        helo,
        sender,
        receiver: "host.example",
        now: 0,
    };
    let table = Table(world.dns.clone());
    let checked = angarium_mail::spf::check(&table, &client);
    let checked = futures_util::FutureExt::now_or_never(checked).unwrap();
    checked.explanation.unwrap_or_else(|| "DEFAULT".to_owned())
}

#[test]
fn registrable_domains_are_those_of_the_list() {
    let Some(folder) = suite("psl") else { return };
    let mut score = Score::new("psl");
    let world = World::default();
    for row in json_lines(&folder, "cases.jsonl") {
        let name = row["domain"].as_str().unwrap_or_default();
        let expected = row["registrable"].as_str().map(str::to_lowercase);
        let found = domain::registrable(name);
        // The built-in gives the suffix; one label more is the registrable domain.
        let suffix = world.json(&format!("return domain_publicsuffix({});", literal(name)));
        let agrees = match (&expected, suffix.as_str()) {
            (Some(expected), Some(suffix)) => expected
                .split_once('.')
                .is_some_and(|(_, rest)| rest == suffix),
            // Without a rule there is no suffix.
            (Some(expected), None) => expected.split('.').count() == 2,
            (None, Some(suffix)) => suffix == name.to_lowercase(),
            (None, None) => !name.contains('.') || name.starts_with('.'),
        };
        score.count(
            found == expected && agrees,
            format!("{row}: {found:?} {suffix}"),
        );
    }
    score.close(100);
}

/// A column of the Unicode data: `\u200D` and `\x{200D}` stand for characters, `""` for an empty text.
fn unescape(column: &str) -> String {
    let column = column.trim();
    if column == "\"\"" {
        return String::new();
    }
    let mut out = String::new();
    let mut rest = column;
    while let Some(at) = rest.find("\\u") {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        let digits = tail.get(2..6).unwrap();
        out.extend(char::from_u32(u32::from_str_radix(digits, 16).unwrap()));
        rest = tail.get(6..).unwrap();
    }
    out + rest
}

#[test]
fn names_are_converted_as_unicode_says() {
    let Some(folder) = suite("idna") else { return };
    let (mut score, mut apart) = (
        Score::new("idna"),
        Score::new("idna (length and direction)"),
    );
    for line in text(&folder, "IdnaTestV2.txt").lines() {
        let row = line.split('#').next().unwrap_or_default();
        let columns: Vec<&str> = row.split(';').collect();
        if columns.len() < 7
            || columns
                .iter()
                .any(|column| column.contains("\\uD8") || column.contains("\\uDF"))
        {
            continue;
        }
        let source = unescape(columns[0]);
        let or = |column: &str, other: &str| {
            let text = unescape(column);
            if column.trim().is_empty() {
                other.to_owned()
            } else {
                text
            }
        };
        let unicode = or(columns[1], &source);
        let unicode_status = columns[2].trim().trim_matches(['[', ']']).to_owned();
        let ascii = or(columns[3], &unicode);
        let ascii_status = match columns[4].trim() {
            "" => unicode_status.clone(),
            status => status.trim_matches(['[', ']']).to_owned(),
        };
        let agrees = |found: Option<String>, expected: &str, status: &str| match found {
            Some(found) => status.is_empty() && found == expected,
            None => !status.is_empty(),
        };
        let decoded = agrees(domain::decode(&source), &unicode, &unicode_status);
        let encoded = agrees(domain::encode(&source), &ascii, &ascii_status);
        let by_option = |status: &str| {
            status.split(", ").any(|code| {
                code.starts_with("A4") || code.starts_with("X4") || code.starts_with('B')
            })
        };
        let what = format!("{line}: {decoded} {encoded} {:?}", domain::encode(&source));
        if by_option(&unicode_status) || by_option(&ascii_status) {
            apart.count(decoded && encoded, what);
        } else {
            score.count(decoded && encoded, what);
        }
    }
    for row in serde_json::from_str::<Vec<serde_json::Value>>(&text(&folder, "punycode_tests.json"))
        .unwrap()
    {
        let (decoded, encoded) = (
            row["decoded"].as_str().unwrap(),
            row["encoded"].as_str().unwrap(),
        );
        if decoded.is_empty() {
            continue;
        }
        let lower = decoded.to_lowercase();
        let expected = format!("xn--{}", encoded.to_lowercase());
        let found = domain::encode(&lower);
        // Punycode alone has no rules on characters; what they allow must agree.
        if let Some(found) = found {
            score.count(found == expected, format!("{row}: {found}"));
        }
    }
    println!("{}: {} of {}", apart.name, apart.good, apart.total);
    score.close(98);
}

#[test]
fn dmarc_records_alignment_and_from_are_as_the_suite_says() {
    let Some(folder) = suite("dmarc") else { return };
    let mut score = Score::new("dmarc");
    for row in json_lines(&folder, "opendmarc-tables.jsonl") {
        let field = |name: &str| row[name].as_str().unwrap_or_default();
        let right = match field("kind") {
            "record" => {
                let parsed = dmarc::Record::parse(field("record").as_bytes());
                parsed.is_ok() == (field("expect") == "okay")
            }
            "alignment" => {
                let mode = match field("mode") {
                    "strict" => dmarc::Alignment::Strict,
                    _ => dmarc::Alignment::Relaxed,
                };
                let found = dmarc::is_aligned(field("a"), field("b"), mode, domain::registrable);
                row["aligned"].as_bool() == Some(found)
            }
            "from-domain" => {
                let found = dmarc::from_domain(field("header").as_bytes());
                found.as_deref() == row["domain"].as_str()
            }
            _ => false,
        };
        score.count(right, &row);
    }
    score.close(98);
}

/// Bytes in hexadecimal digits.
fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .map(|digit| digit.to_digit(16).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

#[test]
fn signatures_of_wycheproof_are_judged_as_it_says() {
    use angarium_mail::dkim::keys::{Hash, RsaPublic, verify_ed25519};
    let Some(folder) = suite("crypto-wycheproof") else {
        return;
    };
    let mut score = Score::new("crypto-wycheproof (signatures)");
    for (file, hash) in [
        ("ed25519.json", None),
        ("rsa_signature_2048_sha256.json", Some(Hash::Sha256)),
        ("rsa_signature_2048_sha512.json", Some(Hash::Sha512)),
    ] {
        let suite: serde_json::Value = serde_json::from_str(&text(&folder, file)).unwrap();
        for group in suite["testGroups"].as_array().unwrap() {
            for test in group["tests"].as_array().unwrap() {
                let (message, signature) = (
                    unhex(test["msg"].as_str().unwrap()),
                    unhex(test["sig"].as_str().unwrap()),
                );
                let found = match hash {
                    None => {
                        let key = unhex(group["publicKey"]["pk"].as_str().unwrap());
                        verify_ed25519(&key, &message, &signature)
                    }
                    Some(hash) => {
                        let key = unhex(group["publicKeyDer"].as_str().unwrap());
                        let key = RsaPublic::from_der(&key).unwrap();
                        key.verify(hash, &message, &signature)
                    }
                };
                let right = match test["result"].as_str().unwrap() {
                    "valid" => found,
                    "invalid" => !found,
                    // Either is right.
                    _ => true,
                };
                score.count(right, format!("{file} {}: {found}", test["tcId"]));
            }
        }
    }
    score.close(100);
}

#[test]
fn the_older_functions_say_what_the_module_and_the_methods_say() {
    let mut world = World::default();
    let public = include_str!("../mail/src/dkim/testdata/rsa1024.pub");
    let record = format!("v=DKIM1; p={public}");
    world.txt("test._domainkey.example.com", &record);
    world.txt("example.com", "v=spf1 ip4:192.0.2.1 -all");
    world.txt("_dmarc.example.com", "v=DMARC1; p=reject; sp=quarantine");
    world.txt("_dmarc.example.org", "v=DMARC1; p=reject");
    world.txt("_dmarc.two.example", "v=DMARC1; p=reject");
    world.txt("_dmarc.two.example", "v=DMARC1; p=reject");
    world.fail("_dmarc.broken.example", &DnsError::TryAgain);
    let far = r#"ScanDMARC(["domain" => "example.net"])"#;
    for (from, call, expected) in [
        (
            "a@example.com",
            "ScanDMARC()",
            "[\"example.com\"=>\"pass\"]",
        ),
        (
            "a@sub.Example.com",
            "ScanDMARC()",
            "[\"sub.example.com\"=>\"pass\"]",
        ),
        (
            "a@sub.example.com",
            far,
            "[\"sub.example.com\"=>\"quarantine\"]",
        ),
        ("a@example.com", far, "[\"example.com\"=>\"reject\"]"),
        (
            "a@example.com",
            "ScanDMARC([\"ip\" => \"192.0.2.2\"])",
            "[\"example.com\"=>\"reject\"]",
        ),
        (
            "a@example.org",
            "ScanDMARC()",
            "[\"example.org\"=>\"reject\"]",
        ),
        (
            "a@two.example",
            "ScanDMARC()",
            "[\"two.example\"=>\"policy_absent\"]",
        ),
        (
            "a@none.example",
            "ScanDMARC()",
            "[\"none.example\"=>\"policy_absent\"]",
        ),
        (
            "a@broken.example",
            "ScanDMARC()",
            "[\"broken.example\"=>\"temperror\"]",
        ),
        ("\"Test User\"", "ScanDMARC()", "\"permerror\""),
        (
            "a@example.com, b@example.org",
            "ScanDMARC()",
            "\"permerror\"",
        ),
        (
            "a@example.com\r\nFrom: b@example.com",
            "ScanDMARC()",
            "\"permerror\"",
        ),
    ] {
        world.mail = Some(format!("From: {from}\r\n\r\nHello\r\n").into_bytes());
        assert_eq!(
            world.run(&format!("return {call};")).as_deref(),
            Ok(expected),
            "{from} {call}"
        );
    }
    assert!(world.run("return ScanDMARC([\"ip\" => \"x\"]);").is_err());
    // A signature makes up for the client.
    world.mail = None;
    let key = include_str!("../mail/src/dkim/testdata/rsa1024.pem");
    let mail = signed(&mut world, b"From: a@example.com\r\n\r\nHello\r\n", key, "");
    world.mail = Some(mail.into_bytes());
    world.gives(&format!("return {far};"), "[\"example.com\"=>\"pass\"]");
    world.gives("return DKIMSDID();", "[\"example.com\"=>\"pass\"]");
    world.gives(
        "return DKIMSDID([\"example.org\"]);",
        "[\"example.com\"=>\"skip\"]",
    );
    world.gives(
        "return DKIMSDID([], [\"signature_limit\" => 0]);",
        "[\"example.com\"=>\"skip\"]",
    );
    let bad = world.mail.take().unwrap();
    let bad = String::from_utf8(bad).unwrap().replace("Hello", "hello");
    world.mail = Some(bad.into_bytes());
    world.gives("return DKIMSDID();", "[\"example.com\"=>\"fail\"]");
}

#[test]
fn the_received_message_has_an_older_name() {
    let mut world = World::default();
    assert!(world.run("return MIME(\"0\");").is_err());
    world.mail = Some(b"From: a@example.com\r\n\r\nHello\r\n".to_vec());
    world.gives(
        "return MIME(\"0\")->getHeader(\"From\");",
        "\"a@example.com\"",
    );
    world.gives(
        "MIME(\"0\")->addHeader(\"X-A\", \"1\"); return MIME(\"0\")->toString() =~ #/^X-A: 1/;",
        "true",
    );
    assert!(world.run("return MIME(\"1\");").is_err());
}
