//! The modules in HSL: ARC by the suite of ValiMail, MTA-STS by its suite, SRS, TOTP, DMARC and Authentication-Results by
//! vectors.
#![allow(clippy::print_stdout, reason = "a suite says how much of it passed")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests read their data from disk; a suite that cannot be read fails its test"
)]

mod common;

use angarium_effects::dns::DnsError;
use common::{World, json_lines, literal, suite, yaml_documents};
use serde_json::Value;

fn records(world: &World, document: &Value) {
    for (name, text) in document["txt-records"].as_object().into_iter().flatten() {
        // YAML keeps the line breaks that the suite's generator added.
        let text = text.as_str().unwrap().replace('\n', "");
        world.txt(name, &text);
    }
}

#[test]
fn arc_chains_are_validated_as_the_suite_says() {
    let Some(folder) = suite("arc-valimail") else {
        return;
    };
    let (mut good, mut total) = (0, 0);
    for document in yaml_documents(&folder, "arc-draft-validation-tests.yml") {
        let mut world = World::default();
        records(&world, &document);
        for (name, test) in document["tests"].as_object().into_iter().flatten() {
            let message = test["message"].as_str().unwrap();
            world.file("m", message);
            let found = world.json(
                r#"
import { ARC } from "extras://arc";
import $m from "txt!m";
return ARC::chainValidate(MailMessage::String($m));
"#,
            );
            let expected = match &test["cv"] {
                // Without quotes YAML reads the word as nothing at all.
                Value::Null => "none".to_owned(),
                word => word.as_str().unwrap().to_lowercase(),
            };
            // An empty one says that the message is out of the suite's scope.
            if expected.is_empty() {
                continue;
            }
            total += 1;
            if found["status"] == expected.as_str() {
                good += 1;
            } else {
                println!(
                    "miss: {name} {expected} {} {}",
                    found["status"], found["reason"]
                );
            }
        }
    }
    println!("arc-valimail (validation): {good} of {total}");
    assert!(good * 100 >= total * 98, "{good} of {total}");
}

/// The tags of a field's value without folding, sorted.
fn tags(value: &str) -> Vec<String> {
    let mut tags: Vec<String> = value
        .split(';')
        .map(|tag| tag.split_whitespace().collect::<String>())
        .filter(|tag| !tag.is_empty())
        .collect();
    tags.sort();
    tags
}

#[test]
fn arc_sets_are_made_as_the_suite_says() {
    let Some(folder) = suite("arc-valimail") else {
        return;
    };
    let (mut good, mut total) = (0, 0);
    for document in yaml_documents(&folder, "arc-draft-sign-tests.yml") {
        let mut world = World::default();
        records(&world, &document);
        world.file("k", document["privatekey"].as_str().unwrap());
        for (name, test) in document["tests"].as_object().into_iter().flatten() {
            // What the suite's signer takes from Authentication-Results fields is given here.
            let aar = test["AAR"].as_str().unwrap_or_default();
            let results = aar.split_once(';').map_or("", |(_, rest)| rest).trim();
            // Fields in the value are folded as the expected one is: its signature depends on it.
            let results = results.replace('\n', "\r\n ");
            world.file("m", test["message"].as_str().unwrap());
            let made = world.json(&format!(
                r#"
import {{ ARC }} from "extras://arc";
import $m from "txt!m";
import $k from "txt!k";
$mail = MailMessage::String($m);
$chain = ARC::chainValidate($mail);
$sealed = ARC::seal($mail, {}, {}, $k, $chain, {}, ["headers" => str_split({}, ":"), "timestamp" => {}]);
if ($sealed === none) return [];
$made = MailMessage::String($mail->toString());
return [$made->getHeader("ARC-Seal"), $made->getHeader("ARC-Message-Signature"), $chain["status"]];
"#,
                literal(document["sel"].as_str().unwrap()),
                literal(document["domain"].as_str().unwrap()),
                literal(&results),
                literal(test["sig-headers"].as_str().unwrap()),
                test["t"],
            ));
            total += 1;
            let expected = |field: &str| test[field].as_str().map(tags).unwrap_or_default();
            let found = |index: usize| made[index].as_str().map(tags).unwrap_or_default();
            if found(0) == expected("AS") && found(1) == expected("AMS") {
                good += 1;
            } else {
                println!(
                    "miss: {name} {}\n  {:?}\n  {:?}\n  {:?}\n  {:?}",
                    made[2],
                    found(0),
                    expected("AS"),
                    found(1),
                    expected("AMS")
                );
            }
        }
    }
    println!("arc-valimail (signing): {good} of {total}");
    assert!(good * 100 >= total * 98, "{good} of {total}");
}

#[test]
fn mta_sts_records_policies_and_names_are_as_the_suite_says() {
    let Some(folder) = suite("mta-sts") else {
        return;
    };
    let (mut good, mut total) = (0, 0);
    let world = World::default();
    for row in json_lines(&folder, "cases.jsonl") {
        let field = |name: &str| literal(row[name].as_str().unwrap_or_default());
        let call = match row["kind"].as_str().unwrap() {
            "record" => format!("mta_sts_record({})", field("record")),
            "policy" => format!(
                "(mta_sts_policy({}) ?? [])[\"mode\"] ?? none",
                field("body")
            ),
            "mx-match" => format!("mta_sts_matches({}, {})", field("pattern"), field("host")),
            "content-type" => format!("mta_sts_is_plain({})", field("value")),
            // What a server answers is tested with http().
            _ => continue,
        };
        let found = world.json(&format!(
            "import {{ mta_sts_record, mta_sts_policy, mta_sts_matches, mta_sts_is_plain }} from \"extras://mta-sts\";\n\
             return {call};"
        ));
        let free = ["lenient", "first-wins"]
            .iter()
            .any(|word| row["expect"] == *word);
        total += 1;
        if free || found == row["expect"] {
            good += 1;
        } else {
            println!("miss: {row}: {found}");
        }
    }
    println!("mta-sts: {good} of {total}");
    assert_eq!(good, total);
}

#[test]
fn a_domain_without_a_single_record_has_no_policy() {
    let world = World::default();
    world.txt("_mta-sts.two.example", "v=STSv1; id=1;");
    world.txt("_mta-sts.two.example", "v=STSv1; id=2;");
    world.txt("_mta-sts.bad.example", "v=STSv1; id=has-dash;");
    for domain in ["none.example", "two.example", "bad.example", "a\\r\\nb", ""] {
        world.gives(
            &format!(
                "import {{ mta_sts }} from \"extras://mta-sts\"; return mta_sts(\"{domain}\");"
            ),
            "none",
        );
    }
}

#[test]
fn tokens_are_those_of_rfc_6238() {
    let world = World::default();
    // Appendix B, SHA-1: the last six of the eight digits.
    for (time, token) in [
        (59_u64, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ] {
        let totp = format!(
            "import {{ TOTP }} from \"extras://totp\";\n\
             $totp = TOTP([\"secret\" => \"12345678901234567890\", \"is_base32\" => false, \"time\" => {time}]);\n"
        );
        world.gives(
            &format!("{totp}return $totp->get_token();"),
            &format!("\"{token}\""),
        );
        world.gives(
            &format!("{totp}return $totp->verify_token(\"{token}\");"),
            "true",
        );
    }
    // One window before and after counts, no more.
    let around = |seconds: i64| {
        format!(
            "import {{ TOTP }} from \"extras://totp\";\n\
             $secret = \"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\";\n\
             $token = TOTP([\"secret\" => $secret, \"time\" => 1000000020 + {seconds}])->get_token();\n\
             return TOTP([\"secret\" => $secret, \"time\" => 1000000020])->verify_token($token);"
        )
    };
    for (seconds, good) in [
        (-60, false),
        (-30, true),
        (0, true),
        (30, true),
        (60, false),
    ] {
        world.gives(&around(seconds), if good { "true" } else { "false" });
    }
}

#[test]
fn rewritten_senders_lead_back() {
    let world = World::default();
    let run = |text: &str| {
        world.run(&format!(
            "import {{ srs_forward, srs_reverse }} from \"extras://srs\";\n{text}"
        ))
    };
    // Made with Python's hmac: hash of "dsusera" and so on, at day 19675 (1,700,000,000 s).
    assert_eq!(
        run("return srs_forward(\"usera\", \"hosta.com\", [\"secret\" => \"secret\"]);").unwrap(),
        format!("\"{SRS0}\"")
    );
    assert_eq!(
        run(&format!(
            "return srs_forward(\"{SRS0}\", \"hostb.com\", [\"secret\" => \"secret\"]);"
        ))
        .unwrap(),
        format!("\"{SRS1}\"")
    );
    // A third host keeps who came first.
    assert_eq!(
        run(&format!(
            "return srs_forward(\"{SRS1}\", \"hostc.com\", [\"secret\" => \"secret\"]);"
        ))
        .unwrap(),
        format!("\"{SRS1}\"")
    );
    assert_eq!(
        run(&format!(
            "return srs_reverse(\"{SRS1}\", [\"secret\" => \"secret\"]);"
        ))
        .unwrap(),
        format!("[\"localpart\"=>\"{SRS0}\",\"domain\"=>\"hostb.com\"]")
    );
    let back = "[\"localpart\"=>\"usera\",\"domain\"=>\"hosta.com\"]";
    assert_eq!(
        run(&format!(
            "return srs_reverse(\"{SRS0}\", [\"secret\" => \"secret\"]);"
        ))
        .unwrap(),
        back
    );
    let day = 1_700_000_000_u64;
    for (options, works) in [
        (format!("\"time\" => {}", day + 21 * 86400), true),
        (format!("\"time\" => {}", day + 22 * 86400), false),
        (
            format!("\"time\" => {}, \"maxage\" => 30", day + 22 * 86400),
            true,
        ),
        // The days begin anew after 1024 of them.
        (format!("\"time\" => {}", day + 1024 * 86400), true),
        ("\"hashlen\" => 5".to_owned(), false),
    ] {
        let found = run(&format!(
            "return srs_reverse(\"{SRS0}\", [\"secret\" => \"secret\", {options}]);"
        ));
        assert_eq!(
            found.unwrap(),
            if works { back } else { "none" },
            "{options}"
        );
    }
    for text in [
        SRS0.replace("usera", "userb"),
        SRS0.replace("hosta", "hostx"),
        "SRS0=".to_owned(),
        "SRS1=a=b".to_owned(),
        "usera".to_owned(),
        String::new(),
    ] {
        let found = run(&format!(
            "return srs_reverse(\"{text}\", [\"secret\" => \"secret\"]);"
        ));
        assert_eq!(found.unwrap(), "none", "{text}");
    }
}

const SRS0: &str = "SRS0=QbEy=G3=hosta.com=usera";
const SRS1: &str = "SRS1=icmu=hostb.com==QbEy=G3=hosta.com=usera";

/// Runs dmarc() on a message from `from`, sent by a client that SPF lets send for `sender`.
fn dmarc(world: &mut World, from: &str, sender: &str, options: &str) -> Value {
    world.file("m", format!("From: {from}\r\nSubject: x\r\n\r\nHello\r\n"));
    world.json(&format!(
        "import {{ dmarc }} from \"extras://dmarc\";\nimport $m from \"txt!m\";\n\
         return dmarc(MailMessage::String($m), \"192.0.2.1\", \"mail.example.com\", {}, [{options}]);",
        literal(sender)
    ))
}

#[test]
fn dmarc_takes_the_policy_that_applies() {
    let mut world = World::default();
    for domain in ["example.com", "sub.example.com", "example.net"] {
        world.txt(domain, "v=spf1 ip4:192.0.2.1 -all");
    }
    world.txt("example.org", "v=spf1 -all");
    world.txt(
        "_dmarc.example.com",
        "v=DMARC1; p=reject; sp=quarantine; np=reject",
    );
    world.txt("_dmarc.strict.example.com", "v=DMARC1; p=reject; aspf=s");
    world.txt("_dmarc.example.org", "v=DMARC1; p=quarantine");
    world.txt("_dmarc.two.example", "v=DMARC1; p=reject");
    world.txt("_dmarc.two.example", "v=DMARC1; p=none");
    world.txt(
        "_dmarc.reports.example",
        "v=DMARC1; p=bogus; rua=mailto:a@reports.example",
    );
    world.txt("_dmarc.some.example", "v=DMARC1; p=reject; pct=0");
    world.fail("_dmarc.broken.example", &DnsError::ServFail);
    let cases = [
        // From, envelope sender's domain, result, policy domain, SPF.
        (
            "a@example.com",
            "example.com",
            "pass",
            "example.com",
            "pass",
        ),
        (
            "a@example.com",
            "sub.example.com",
            "pass",
            "example.com",
            "pass",
        ),
        (
            "a@sub.example.com",
            "example.com",
            "pass",
            "example.com",
            "pass",
        ),
        (
            "a@sub.example.com",
            "example.net",
            "quarantine",
            "example.com",
            "unaligned",
        ),
        (
            "a@strict.example.com",
            "example.com",
            "reject",
            "strict.example.com",
            "unaligned",
        ),
        (
            "a@example.org",
            "example.org",
            "quarantine",
            "example.org",
            "fail",
        ),
        (
            "a@two.example",
            "example.com",
            "policy_absent",
            "two.example",
            "",
        ),
        (
            "a@none.example",
            "example.com",
            "policy_absent",
            "none.example",
            "",
        ),
        (
            "a@broken.example",
            "example.com",
            "temperror",
            "broken.example",
            "",
        ),
        (
            "a@reports.example",
            "example.com",
            "none",
            "reports.example",
            "unaligned",
        ),
        (
            "a@some.example",
            "example.com",
            "quarantine",
            "some.example",
            "unaligned",
        ),
        // The null sender: the name in HELO.
        ("a@example.com", "", "reject", "example.com", "fail"),
        (
            "a@example.com, b@example.org",
            "example.com",
            "permerror",
            "",
            "",
        ),
        (
            "a@example.com\r\nFrom: b@example.com",
            "example.com",
            "permerror",
            "",
            "",
        ),
        ("\"Test User\"", "example.com", "permerror", "", ""),
    ];
    for (from, sender, result, domain, spf) in cases {
        let found = dmarc(&mut world, from, sender, "");
        assert_eq!(found["result"], result, "{from} {found}");
        assert_eq!(
            found["pdomain"].as_str().unwrap_or_default(),
            domain,
            "{from} {found}"
        );
        assert_eq!(
            found["spf_align"].as_str().unwrap_or_default(),
            spf,
            "{from} {found}"
        );
    }
    // RFC 9989: a name that does not exist has a policy of its own, a test asks for less.
    world.txt("_dmarc.test.example", "v=DMARC1; p=reject; t=y");
    for (from, result) in [
        ("a@gone.example.com", "reject"),
        ("a@sub.example.com", "quarantine"),
        ("a@test.example", "quarantine"),
    ] {
        let found = dmarc(&mut world, from, "example.net", "\"rfc9989\" => true");
        assert_eq!(found["result"], result, "{from} {found}");
    }
}

#[test]
fn failure_reports_are_made_where_a_domain_wants_them() {
    let world = World::default();
    world.txt("example.com._report._dmarc.agreed.example", "v=DMARC1");
    world.txt(
        "example.com._report._dmarc.moved.example",
        "v=DMARC1; ruf=mailto:new@moved.example,mailto:x@else.example",
    );
    world.txt("example.com._report._dmarc.odd.example", "v=spf1");
    let evaluated = |result: &str, spf: &str, dkim: &str, record: &str| {
        format!(
            r#"["result" => "{result}", "pdomain" => "example.com", "spf_align" => "{spf}", "dkim_align" => "{dkim}",
            "spf" => ["result" => "pass"], "dkim" => [["result" => "fail", "tags" => ["d" => "example.com", "s" => "k"]]],
            "dmarc" => ["p" => "reject", "ruf" => "mailto:a@example.com" {record}]]"#
        )
    };
    let import = r#"import { dmarc_ruf_candidate, dmarc_ruf_addresses, dmarc_ruf_report } from "extras://dmarc";"#;
    for (result, spf, dkim, record, wanted) in [
        ("reject", "fail", "fail", "", true),
        ("none", "unaligned", "fail", "", true),
        ("pass", "pass", "fail", "", false),
        ("pass", "pass", "fail", r#", "fo" => "1""#, true),
        ("pass", "pass", "pass", r#", "fo" => "1""#, false),
        ("pass", "pass", "pass", r#", "fo" => "0: D""#, true),
        ("pass", "pass", "pass", r#", "fo" => "s""#, false),
        ("reject", "fail", "fail", r#", "rf" => "iodef""#, false),
        ("reject", "fail", "fail", r#", "rf" => "iodef:afrf""#, true),
        ("reject", "fail", "fail", r#", "ruf" => """#, false),
        ("policy_absent", "fail", "fail", "", false),
    ] {
        let dmarc = evaluated(result, spf, dkim, record);
        let found = world.json(&format!("{import} return dmarc_ruf_candidate({dmarc});"));
        assert_eq!(found["result"], wanted, "{dmarc} {found}");
        assert_eq!(found["reason"].is_string(), !wanted, "{found}");
    }
    let uris = "mailto:a%2Bb@sub.example.com!10m, mailto:c@agreed.example,mailto:d@moved.example,mailto:e@odd.example,\
                mailto:f@silent.example,https://g.example/,mailto:no";
    let dmarc = evaluated("reject", "fail", "fail", &format!(r#", "ruf" => "{uris}""#));
    world.gives(
        &format!(
            r#"{import} return array_join(array_map(function ($a) {{ return $a["localpart"] . "@" . $a["domain"]; }},
            dmarc_ruf_addresses({dmarc})["result"]), " ");"#
        ),
        r#""a+b@sub.example.com c@agreed.example new@moved.example""#,
    );
    let report = world.string(&format!(
        r#"{import}
        $mail = MailMessage::String("Message-ID: <1@example.com>\r\n\r\nx");
        return dmarc_ruf_report({dmarc}, "192.0.2.1", ["localpart" => "", "domain" => ""],
            [["localpart" => "a b", "domain" => "b.example"], "c@b.example\r\nX: y"], 86400, $mail,
            ["delivery-result" => "policy"])->toString();"#
    ));
    for line in [
        "Content-Type: message/feedback-report\r\n",
        "\r\n\r\nFeedback-Type: auth-failure\r\nUser-Agent: Angarium\r\nVersion: 1\r\nOriginal-Mail-From: <>\r\n",
        "Original-Rcpt-To: <\"a b\"@b.example>\r\nOriginal-Rcpt-To: <c@b.example X: y>\r\nArrival-Date: ",
        "Source-IP: 192.0.2.1\r\nReported-Domain: example.com\r\nOriginal-Message-ID: <1@example.com>\r\n",
        "Authentication-Results: host.example; dmarc=fail; spf=pass; dkim=fail header.d=example.com\r\n",
        "Auth-Failure: dmarc\r\nDelivery-Result: policy\r\nIdentity-Alignment: none\r\n",
        "DKIM-Domain: example.com\r\nDKIM-Selector: k\r\n",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
}

#[test]
fn dmarc_counts_a_signature_of_an_aligned_domain() {
    let mut world = World::default();
    let key = include_str!("../mail/src/dkim/testdata/rsa1024.pem");
    let public = include_str!("../mail/src/dkim/testdata/rsa1024.pub");
    world.file("k", key);
    world.file("m", "From: a@example.com\r\n\r\nHello\r\n");
    world.txt("_dmarc.example.com", "v=DMARC1; p=reject");
    world.txt("s._domainkey.example.com", &format!("v=DKIM1; p={public}"));
    world.txt("s._domainkey.example.org", &format!("v=DKIM1; p={public}"));
    for (domain, alter, result, align) in [
        ("example.com", "", "pass", "pass"),
        ("example.org", "", "reject", "unaligned"),
        ("example.com", "x", "reject", "fail"),
    ] {
        let found = world.json(&format!(
            r#"
import {{ dmarc }} from "extras://dmarc";
import {{ AuthenticationResults }} from "extras://authentication-results";
import $m from "txt!m";
import $k from "txt!k";
$mail = MailMessage::String($m);
$mail->signDKIM("s", "{domain}", $k);
$mail = MailMessage::String($mail->toString() . "{alter}");
$results = AuthenticationResults()->DKIM($mail)->DMARC()->toString("mx.example");
return [...dmarc($mail), "field" => $results];
"#
        ));
        assert_eq!(found["result"], result, "{found}");
        assert_eq!(found["dkim_align"], align, "{found}");
        let field = found["field"].as_str().unwrap();
        let dkim = if alter.is_empty() { "pass" } else { "fail" };
        assert!(
            field.starts_with(&format!("mx.example;\r\n\tdkim={dkim} header.d={domain} ")),
            "{field}"
        );
        let dmarc = if result == "pass" { "pass" } else { "fail" };
        let end = format!(";\r\n\tdmarc={dmarc} header.from=example.com policy.dmarc=reject");
        assert!(field.ends_with(&end), "{field}");
    }
}

#[test]
fn results_are_written_so_that_no_value_ends_its_place() {
    let world = World::default();
    let field = world.string(
        r#"
import { AuthenticationResults } from "extras://authentication-results";
return AuthenticationResults()
    ->SPF(["result" => "pass"], "he\"lo\r\nX: y", "example.com", ["smtp.remote-ip" => "2001:db8::1"])
    ->addMethod("arc\r\n", "pa ss", ["header.oldest-pass" => 0])
    ->toString("mx.example;\x00");
"#,
    );
    assert_eq!(
        field,
        "\"mx.example; \";\r\n\tspf=pass smtp.mailfrom=example.com smtp.helo=\"he\\\"lo X: y\" \
         smtp.remote-ip=2001:db8::1;\r\n\tarc=pass header.oldest-pass=0"
    );
    world.gives(
        "import { AuthenticationResults } from \"extras://authentication-results\";\n\
         return AuthenticationResults()->toString(\"mx.example\");",
        "\"mx.example; none\"",
    );
}

#[test]
fn the_scripts_of_the_example_run() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/authentication/scripts");
    let mut said = Vec::new();
    for name in ["totp.hsl", "mta-sts.hsl"] {
        let world = World::default();
        world.run(&common::text(&folder, name)).unwrap();
        said.extend(world.log.0.take());
    }
    assert_eq!(
        said,
        [
            "The token is of 6 digits; in 20 seconds it is still good.",
            "example.com does not say."
        ]
    );
}
